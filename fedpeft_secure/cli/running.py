"""Training runs, from the command line and from Python."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fedpeft_secure.cli.app import ConfigPath, Debug, Json, Out, Overrides, app, default_out, one_line_errors
from fedpeft_secure.config import Config
from fedpeft_secure.errors import InputError
from fedpeft_secure.events import Listener, ignore
from fedpeft_secure.result import Result

if TYPE_CHECKING:
    from fedpeft_secure.engines.base import Engine


def run(
    config: Config | str | Path | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    listen: Listener = ignore,
) -> Result:
    """Runs a configuration: trains, attacks, evaluates and reports. What `fedpeft run` does, from Python.

    Args:
        config: a `Config`, the path of a TOML file, or None for the embedded default.
        out: the run directory; default runs/<time>.
        resume: finish the interrupted run in `out`; its own configuration is used.
        listen: told about progress.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: If the configuration, data, model or directory cannot be used.
        RunFailedError: If a round ends without an aggregate; `resume` continues.
    """
    from attacks.suite import run_attacks
    from evaluations.metrics import classification
    from evaluations.report import write_report
    from fedpeft_secure.config_file import load_config
    from fedpeft_secure.server.job import finish, training_run

    loaded = config if isinstance(config, Config) else load_config(config)
    root = Path(out) if out else default_out()
    with training_run(None if resume else loaded, root, resume=resume, listen=listen) as trained:
        result = finish(trained, measure=classification, attack=run_attacks, listen=listen)
    write_report(root, show_text=trained.shows_text)
    return result


def run_deployed(engine: "Engine", config: Config, *, out: Path, resume: bool, listen: Listener = ignore) -> Result:
    """The same over clients on machines of their own; nothing is attacked, since nobody here has their data.

    Args:
        engine: reaches the clients.
        config: the run's; ignored when resuming.
        out: the run directory.
        resume: go on after the last finished round of the run in `out`; a half-finished one is closed.
        listen: told about progress.

    Raises:
        InputError, RunFailedError: As `run`.
    """
    from evaluations.metrics import classification
    from evaluations.report import write_report
    from fedpeft_secure.server.job import finish, training_run

    with training_run(None if resume else config, out, resume=resume, listen=listen, engine=engine) as trained:
        result = finish(trained, measure=classification, attack=lambda *_: (), listen=listen)
    write_report(out, show_text=False)
    return result


@app.command("run", epilog="Example: fedpeft run --set privacy.epsilon=3 --out runs/eps3")
@one_line_errors
def run_command(  # noqa: PLR0917 - typer calls by name
    config: ConfigPath = None,
    overrides: Overrides = None,
    out: Out = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Finish the interrupted run in DIR.")
    ] = None,
    log: Annotated[
        list[str] | None, typer.Option("--log", metavar="NAME", help="Live log: tensorboard or mlflow; repeatable.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Trains over simulated clients, attacks what was sent, and writes a report."""
    del debug
    from fedpeft_secure.config_file import load_config
    from fedpeft_secure.live_logs import live_logs
    from fedpeft_secure.progress import progress
    from fedpeft_secure.summary import summary

    if resume is not None and (config is not None or overrides or out is not None):
        raise InputError(
            "--resume: the run has its own configuration and directory; leave CONFIG, --set and --out away"
        )
    directory = resume or out or default_out()
    console = Console(stderr=True)
    loaded = load_config(config, overrides=overrides or ())
    try:
        with progress(console) as shown, live_logs(log or (), directory, shown) as listen:
            result = run(loaded, out=directory, resume=resume is not None, listen=listen)
    except KeyboardInterrupt:
        kept = (directory / "config.toml").is_file()
        remedy = f"`fedpeft run --resume {directory}` goes on where it stopped" if kept else "nothing was written"
        typer.echo(f"fedpeft: interrupted; {remedy}", err=True)
        raise typer.Exit(130) from None
    console.print(summary(result, directory), markup=False, highlight=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(result.to_json() + "\n")


@app.command("report", epilog="Example: fedpeft report runs/demo")
@one_line_errors
def report_command(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A finished run.")], debug: Debug = False
) -> None:
    """Writes report.html and the plots of a finished run anew."""
    del debug
    from evaluations.report import write_report
    from fedpeft_secure.rundir import read_run

    typer.echo(str(write_report(run_dir, show_text=read_run(run_dir).shows_text)))
