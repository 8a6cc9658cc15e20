"""Attacks and audits."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedpeft_secure.cli.app import Debug, Json, Out, Overrides, app, default_out, one_line_errors, show_table
from fedpeft_secure.cli.running import run
from fedpeft_secure.errors import InputError
from fedpeft_secure.events import Listener, ignore


@app.command("audit", epilog="Example: fedpeft audit --set privacy.epsilon=1 --out runs/audit1")
@one_line_errors
def audit_command(  # noqa: PLR0917 - typer calls by name
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG|RUN_DIR]", help="TOML file; or a finished run, whose ledger is replayed as well."
        ),
    ] = None,
    overrides: Overrides = None,
    out: Out = None,
    canaries: Annotated[
        int | None,
        typer.Option("--canaries", min=2, help="How many [default: 4000 gradients, or 400 clients]."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Plants canaries, and puts the ε that they prove next to the ε of the ledger; exit 1 if they contradict it."""
    del debug
    from attacks.audit import audit, audit_table, replayed, require_passed
    from evaluations.report import write_audit_page
    from fedpeft_secure.config_file import load_config
    from fedpeft_secure.progress import progress

    finished = config if config is not None and config.is_dir() else None
    loaded = load_config(config if finished is None else finished / "config.toml", overrides=overrides or ())
    directory = out or default_out()
    console = Console(stderr=True)
    with progress(console) as listen:
        result = audit(loaded, directory, canaries=canaries, listen=listen)
    if finished is not None:
        result = replayed(result, finished, directory)
    report = write_audit_page(directory, result)
    console.print(audit_table(result))
    if as_json:
        sys.stdout.write(result.to_json() + "\n")
    typer.echo(f"report: {report}", err=True)
    require_passed(result)


@app.command("attack", epilog='Example: fedpeft attack --text "a good film" --view individual')
@one_line_errors
def attack_command(  # noqa: PLR0917 - typer calls by name
    target: Annotated[
        Path | None, typer.Argument(metavar="[RUN_DIR|CONFIG]", help="A finished run, or a TOML file.")
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--text", metavar="TEXT", help="Your own sentence as training data; repeatable.")
    ] = None,
    view: Annotated[
        str | None, typer.Option("--view", help="With --text: individual, individual-dp, sum or sum-dp.")
    ] = None,
    overrides: Overrides = None,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Plays the configured attacks on a run's own messages, or shows what comes back of your own sentences."""
    del debug
    from attacks.suite.command import attack_own_texts, attack_target
    from attacks.suite.screen import rows_json, rows_table, text_json, text_table

    if texts:
        if out is not None:
            raise InputError("--out keeps a run; --text makes none, leave --out away")
        with _shown(as_json) as listen:
            found = attack_own_texts(target, texts, view=view, overrides=overrides or (), listen=listen)
        show_table(text_table(found), text_json(found), as_json=as_json)
        return
    if view is not None:
        raise InputError("--view belongs to --text; a run is attacked under all four views")
    from evaluations.report import write_report

    with _shown(as_json) as listen:
        rows, root, shown = attack_target(
            target, out or default_out(), overrides=overrides or (), run=run, listen=listen
        )
    report = write_report(root, show_text=shown)
    show_table(rows_table(rows), rows_json(rows), as_json=as_json)
    typer.echo(f"report: {report}", err=True)


def _shown(as_json: bool) -> AbstractContextManager[Listener]:
    """Progress on standard error; none beside JSON."""
    from fedpeft_secure.progress import progress

    return nullcontext(ignore) if as_json else progress(Console(stderr=True))
