"""The application that commands register with: shared options, one-line errors, how results are shown."""

import json
import sys
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from fedpeft_secure.errors import FedPeftError, InputError
from fedpeft_secure.version import __version__

app = typer.Typer(
    name="fedpeft",
    help="Fine-tune one model over data that may not move, and know what leaks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

bench = typer.Typer(help="Measures parts of the framework on this machine.", no_args_is_help=True)
app.add_typer(bench, name="bench")

key_holder = typer.Typer(help="The third party of the helper, CKKS and BFV sums.", no_args_is_help=True)
app.add_typer(key_holder, name="key-holder")

ConfigPath = Annotated[Path | None, typer.Argument(metavar="CONFIG", help="TOML file; every key has a default.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key; repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on standard output.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run directory [default: runs/<time>].")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def default_out() -> Path:
    """runs/<time>."""
    return Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S")


def one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turns our exceptions into one line and an exit status: 2 for bad input, 1 for a run that failed."""

    @wraps(command)
    def wrapped(*args: Any, debug: bool = False, **options: Any) -> None:
        import dp.errors
        import secagg
        from attacks.errors import AttackError

        try:
            command(*args, debug=debug, **options)
        except (FedPeftError, dp.PrivacyError, secagg.ProtocolError, AttackError) as error:
            if debug:
                raise
            typer.echo(f"fedpeft: {' '.join(str(error).split())}", err=True)
            refusals = (dp.LedgerError, dp.errors.InvalidParameter, dp.errors.UnsupportedAccounting)
            bad_input = isinstance(error, (InputError, secagg.PlanError, secagg.WireError, *refusals))
            raise typer.Exit(2 if bad_input else 1) from None
        except KeyboardInterrupt:
            typer.echo("fedpeft: interrupted", err=True)
            raise typer.Exit(130) from None

    return wrapped


def show_rows(values: list[dict[str, Any]], table: RenderableType, *, as_json: bool) -> None:
    """Shows a table, or its rows as JSON."""
    if as_json:
        sys.stdout.write(json.dumps(values, indent=2) + "\n")
    else:
        Console().print(table)


def show_table(table: RenderableType, text: str, *, as_json: bool) -> None:
    """Shows a table, or the text that is its JSON."""
    if as_json:
        sys.stdout.write(text + "\n")
    else:
        Console().print(table)


@app.callback(invoke_without_command=True)
def version_option(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Fine-tune one model over data that may not move, and know what leaks."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point of the `fedpeft` command."""
    app()
