"""What clients' data say of the module, for adaptive allocation."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fedpeft_secure.cli.app import ConfigPath, Debug, Json, Overrides, app, one_line_errors, show_table
from fedpeft_secure.config import MeasuredImportance
from fedpeft_secure.errors import InputError


@app.command("characteristics", epilog="Example: fedpeft characteristics my.toml --out importance.toml")
@one_line_errors
def characteristics_command(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file, for allocation.importance.")],
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measures through the secure sum, noised and charged, how clients' data spread the gradient over the layers."""
    del debug
    from fedpeft_secure.allocation.importance_file import described, write_importance
    from fedpeft_secure.config_file import read_tables, validated
    from fedpeft_secure.progress import progress
    from fedpeft_secure.server.characteristics import measure

    if out.exists() or not out.parent.is_dir():
        raise InputError(f"--out {out}: give a new file in a directory that is there")
    console = Console(stderr=True)
    with progress(console) as listen:
        found = measure(validated(read_tables(config, overrides=overrides or ())), listen=listen)
    write_importance(found, out)
    console.print(described(found), markup=False, highlight=False, soft_wrap=True)
    show_table(_table(found), found.model_dump_json(indent=2), as_json=as_json)


def _table(found: MeasuredImportance) -> Table:
    table = Table(
        title=f"{found.model}: about {found.examples:.0f} examples of {found.clients} clients, labels of "
        f"{found.label_entropy:.2f} bits"
    )
    for heading in ("layer", *found.targets):
        table.add_column(heading, justify="right")
    for layer, row in enumerate(found.weights, start=1):
        table.add_row(str(layer), *(f"{weight:.3f}" for weight in row))
    return table
