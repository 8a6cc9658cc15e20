"""What a configuration plans to spend, and what a ledger has spent."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedpeft_secure.cli.app import ConfigPath, Debug, Json, Overrides, app, one_line_errors, show_rows
from fedpeft_secure.errors import InputError


@app.command("budget", epilog="Example: fedpeft budget --set privacy.epsilon=3 --export plan.csv")
@one_line_errors
def budget_command(  # noqa: PLR0917 - typer calls by name
    config: ConfigPath = None,
    overrides: Overrides = None,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", metavar="PATH", help="Show what a ledger holds instead.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write the plan to a new .csv or .json file.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Shows, before any training, each client's plan and who limits whom; or what a ledger has spent and has left."""
    del debug
    from fedpeft_secure.budget_export import check_target, export_plan, plan_json
    from fedpeft_secure.budget_table import budget_rows, budget_table
    from fedpeft_secure.config_file import load_config
    from fedpeft_secure.ledger_table import ledger_rows, ledger_table

    if ledger is not None:
        if export is not None:
            raise InputError("--export writes a plan, not a ledger; leave --ledger away, or use --json")
        given = config is not None or overrides
        spent = ledger_rows(ledger, load_config(config, overrides=overrides or ()) if given else None)
        show_rows([row.model_dump(mode="json") for row in spent], ledger_table(ledger, spent), as_json=as_json)
        return
    loaded = load_config(config, overrides=overrides or ())
    if export is not None:
        check_target(export)
    rows = budget_rows(loaded)
    if export is not None:
        export_plan(export, loaded, rows)
        if export.suffix == ".csv" and loaded.privacy.groups:
            typer.echo(f"fedpeft: {export} holds no groups: give it back only beside the same privacy.groups", err=True)
    show_rows(json.loads(plan_json(rows)), budget_table(loaded, rows), as_json=as_json)
