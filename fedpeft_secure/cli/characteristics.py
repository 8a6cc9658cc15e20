"""What clients' data say of the module, for adaptive allocation."""

import errno
import os
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
    from fedpeft_secure.allocation.adaptive import CLASSES
    from fedpeft_secure.allocation.importance_file import check_new, described
    from fedpeft_secure.allocation.shapes import load_shape
    from fedpeft_secure.config_file import read_tables, validated
    from fedpeft_secure.progress import progress
    from fedpeft_secure.server.characteristics import measure

    check_new(out)
    settings, console = validated(read_tables(config, overrides=overrides or ())), Console(stderr=True)
    with progress(console) as listen:
        found = measure(settings, listen=listen)
    _write(found, out)
    console.print(described(found), markup=False, highlight=False, soft_wrap=True)
    layers = load_shape(settings.model.name, classes=CLASSES).layers
    show_table(_table(found, layers=layers), found.model_dump_json(indent=2), as_json=as_json)


def _write(found: MeasuredImportance, out: Path) -> None:
    """Into a file that was new before; what was charged for is never lost with a file that cannot be written."""
    from fedpeft_secure.allocation.importance_file import as_toml, write_importance

    try:
        if os.path.lexists(out):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        write_importance(found, out)
    except OSError as error:
        typer.echo(as_toml(found))
        raise InputError(
            f"--out {out}: {error.strerror}; what was measured stands on standard output, keep it in another file"
        ) from None


def _table(found: MeasuredImportance, *, layers: int) -> Table:
    table = Table(
        title=f"{found.model}: about {found.examples:.0f} examples of {found.clients} clients, labels of "
        f"{found.label_entropy:.2f} bits"
    )
    for heading in ("layer", *found.targets):
        table.add_column(heading, justify="right")
    for layer, row in enumerate(found.weights, start=1 + layers - len(found.weights)):
        table.add_row(str(layer), *(f"{weight:.3f}" for weight in row))
    return table
