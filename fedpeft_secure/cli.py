"""The command line, and the composition root: the one module that reaches up to attacks and evaluations, lazily."""

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fedpeft_secure.config import Config
from fedpeft_secure.errors import FedPeftError, InputError
from fedpeft_secure.events import Listener, ignore
from fedpeft_secure.result import Result
from fedpeft_secure.version import __version__

if TYPE_CHECKING:
    from fedpeft_secure.engines.base import Engine

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


@app.command("run", epilog="Example: fedpeft run --set privacy.epsilon=3 --out runs/eps3")
@one_line_errors
def run_command(  # noqa: PLR0917 - typer calls by name
    config: ConfigPath = None,
    overrides: Overrides = None,
    out: Out = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Finish the interrupted run in DIR.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Trains over simulated clients, attacks what was sent, and writes a report."""
    del debug
    from fedpeft_secure.config_file import load_config
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
        with progress(console) as listen:
            result = run(loaded, out=directory, resume=resume is not None, listen=listen)
    except KeyboardInterrupt:
        kept = (directory / "config.toml").is_file()
        remedy = f"`fedpeft run --resume {directory}` goes on where it stopped" if kept else "nothing was written"
        typer.echo(f"fedpeft: interrupted; {remedy}", err=True)
        raise typer.Exit(130) from None
    console.print(summary(result, directory), markup=False, highlight=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(result.to_json() + "\n")


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
        _show([row.model_dump(mode="json") for row in spent], ledger_table(ledger, spent), as_json=as_json)
        return
    loaded = load_config(config, overrides=overrides or ())
    if export is not None:
        check_target(export)
    rows = budget_rows(loaded)
    if export is not None:
        export_plan(export, loaded, rows)
        if export.suffix == ".csv" and loaded.privacy.groups:
            typer.echo(f"fedpeft: {export} holds no groups: give it back only beside the same privacy.groups", err=True)
    _show(json.loads(plan_json(rows)), budget_table(loaded, rows), as_json=as_json)


def _show(values: list[dict[str, Any]], table: Table, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(values, indent=2) + "\n")
    else:
        Console().print(table)


@app.command("audit", epilog="Example: fedpeft audit --set privacy.epsilon=1 --out runs/audit1")
@one_line_errors
def audit_command(  # noqa: PLR0917 - typer calls by name
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="TOML file; or a finished run, whose ledger is replayed as well."),
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
    console.print(audit_table(result))
    if as_json:
        sys.stdout.write(result.to_json() + "\n")
    require_passed(result)


@app.command("compare", epilog="Example: fedpeft compare --arm fedsvd --arm full --seed 0 --seed 1 --out runs/compare")
@one_line_errors
def compare_command(  # noqa: PLR0917 - typer calls by name
    config: ConfigPath = None,
    overrides: Overrides = None,
    arms: Annotated[
        list[str] | None,
        typer.Option("--arm", metavar="NAME", help="A strategy or baseline; repeatable [default: all]."),
    ] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", min=0, help="Repeatable [default: 0, 1, 2].")] = None,
    attacks: Annotated[
        list[str] | None, typer.Option("--attack", metavar="NAME", help="Play it on every arm; repeatable.")
    ] = None,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Trains every strategy and baseline on the same partitions and seeds; goes on where it was interrupted."""
    del debug
    from evaluations.compare import compare, screen
    from fedpeft_secure.config_file import load_config
    from fedpeft_secure.progress import progress

    loaded = load_config(config, overrides=overrides or ())
    directory = out or default_out()
    with progress(Console(stderr=True)) as listen:
        found = compare(
            loaded, seeds=seeds or (0, 1, 2), arms=arms or (), attacks=attacks or (), out=directory, listen=listen
        )
    _show([row.model_dump(mode="json") for row in found.rows], screen(found), as_json=as_json)
    typer.echo(f"report: {directory / 'report.html'}", err=True)


@app.command("matrix", epilog="Example: fedpeft matrix --fast --out runs/matrix")
@one_line_errors
def matrix_command(  # noqa: PLR0917 - typer calls by name
    config: ConfigPath = None,
    overrides: Overrides = None,
    attacks: Annotated[
        list[str] | None, typer.Option("--attacks", metavar="NAME", help="Repeatable [default: all].")
    ] = None,
    views: Annotated[
        list[str] | None, typer.Option("--views", metavar="NAME", help="Repeatable [default: all four].")
    ] = None,
    defences: Annotated[
        list[str] | None, typer.Option("--defences", metavar="NAME", help="Repeatable [default: all].")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Only attacks without shadow models, fewer defences.")] = False,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FILE", help="Only check somebody's matrix.json.")
    ] = None,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Plays every attack on every defence under every view; goes on where it was interrupted."""
    del debug
    from evaluations.matrix import choose, matrix, read_submission, require_complete, screen
    from fedpeft_secure.config_file import load_config
    from fedpeft_secure.progress import progress

    if check is not None:
        _print(screen(submission := read_submission(check)), submission.to_json(), as_json=as_json)
        return
    wanted = choose(attacks=attacks or (), views=views or (), defences=defences or (), fast=fast)
    loaded = load_config(config, overrides=overrides or ())
    directory = out or default_out()
    with progress(Console(stderr=True)) as listen:
        found = matrix(loaded, wanted, out=directory, listen=listen)
    _print(screen(found), found.to_json(), as_json=as_json)
    typer.echo(f"report: {directory / 'report.html'}", err=True)
    require_complete(found)


@app.command("sweep", epilog="Example: fedpeft sweep --over privacy.epsilon=1,3,8,inf --seeds 3 --out runs/sweep")
@one_line_errors
def sweep_command(  # noqa: PLR0917 - typer calls by name
    config: ConfigPath = None,
    over: Annotated[
        list[str] | None, typer.Option("--over", metavar="KEY=V1,V2,...", help="An axis of the grid; repeatable.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", metavar="N", help="Repeat every cell with N seeds [default: 3].")
    ] = None,
    overrides: Overrides = None,
    out: Out = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Finish the interrupted sweep in DIR.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Cells at once [default: by cores and memory].")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Trains a grid over any settings, and draws the frontiers; goes on where it was interrupted."""
    del debug
    from evaluations.sweep import Plan, new_plan, require_complete, screen, sweep
    from fedpeft_secure.config_file import read_tables
    from fedpeft_secure.progress import progress

    if resume is None:
        tables = read_tables(config, overrides=overrides or ())
        plan = new_plan(tables, over=over or (), seeds=3 if seeds is None else seeds)
    elif config is not None or over or seeds is not None or overrides or out is not None:
        raise InputError(
            "--resume: the sweep has its own settings and directory; leave CONFIG, --over, --seeds, --set, --out away"
        )
    else:
        plan = Plan.read(resume)
    directory = resume or out or default_out()
    try:
        with progress(Console(stderr=True)) as listen:
            found = sweep(plan, out=directory, processes=processes, listen=listen)
    except KeyboardInterrupt:
        typer.echo(f"fedpeft: interrupted; `fedpeft sweep --resume {directory}` goes on where it stopped", err=True)
        raise typer.Exit(130) from None
    _print(screen(found), found.to_json(), as_json=as_json)
    typer.echo(f"report: {directory / 'report.html'}", err=True)
    require_complete(found, directory)


@app.command("recommend", epilog="Example: fedpeft recommend --evidence runs/sweep --min-accuracy 0.72")
@one_line_errors
def recommend_command(  # noqa: PLR0917 - typer calls by name
    config: ConfigPath = None,
    evidence: Annotated[
        list[Path] | None,
        typer.Option("--evidence", metavar="DIR", help="Runs or sweeps; repeatable [default: runs]."),
    ] = None,
    min_accuracy: Annotated[float, typer.Option("--min-accuracy", help="The least test accuracy.")] = 0.0,
    max_leakage: Annotated[
        list[str] | None,
        typer.Option(
            "--max-leakage", metavar="[ATTACK.METRIC=]VALUE", help="Above the null control, or of one metric."
        ),
    ] = None,
    max_epsilon: Annotated[float, typer.Option("--max-epsilon", help="Of every client.")] = float("inf"),
    max_upload: Annotated[float, typer.Option("--max-upload-kib", help="Of a client in a round.")] = float("inf"),
    max_memory: Annotated[float, typer.Option("--max-memory-mib", help="By the cost model.")] = float("inf"),
    over: Annotated[
        list[str] | None,
        typer.Option("--over", metavar="KEY=V1,V2,...", help="Train this grid first, as `fedpeft sweep`; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="Of that grid.")] = 3,
    overrides: Overrides = None,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Chooses a configuration and every client's budget by what finished runs showed; exit 1 if nothing fits."""
    del debug
    from evaluations.recommend import make_wishes, recommend, require_found, screen
    from evaluations.sweep import new_plan, sweep
    from fedpeft_secure.config_file import parse_config, read_tables
    from fedpeft_secure.progress import progress

    tables = read_tables(config, overrides=overrides or ())
    base = parse_config(tables) if config is not None or overrides else None
    wishes = make_wishes(
        base,
        min_accuracy=min_accuracy,
        max_leakage=max_leakage or (),
        max_epsilon=max_epsilon,
        max_upload_kib=max_upload,
        max_memory_mib=max_memory,
    )
    directory = out or default_out()
    folders = list(evidence or ([] if over else [Path("runs")]))
    if over:
        folders.append(directory / "search")
        with progress(Console(stderr=True)) as listen:
            sweep(new_plan(tables, over=over, seeds=seeds), out=folders[-1], listen=listen)
    found = recommend(base, wishes=wishes, evidence=folders, out=directory)
    _print(screen(found), found.to_json(), as_json=as_json)
    typer.echo(f"report: {directory / 'report.html'}", err=True)
    require_found(found)


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
        found = attack_own_texts(target, texts, view=view, overrides=overrides or ())
        _print(text_table(found), text_json(found), as_json=as_json)
        return
    if view is not None:
        raise InputError("--view belongs to --text; a run is attacked under all four views")
    from evaluations.report import write_report

    rows, root, shown = attack_target(target, out or default_out(), overrides=overrides or (), run=run)
    report = write_report(root, show_text=shown)
    _print(rows_table(rows), rows_json(rows), as_json=as_json)
    typer.echo(f"report: {report}", err=True)


def _print(table: Table, text: str, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(text + "\n")
    else:
        Console().print(table)


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


@app.command("doctor", epilog="Example: fedpeft doctor --profile laptop.toml")
@one_line_errors
def doctor_command(  # noqa: PLR0917 - typer calls by name
    config: ConfigPath = None,
    overrides: Overrides = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Measure this device for allocation.devices."),
    ] = None,
    connect: Annotated[
        Path | None, typer.Option("--connect", metavar="SETTINGS", help="Look at a node: its files and its worker.")
    ] = None,
    superlink: Annotated[
        str, typer.Option("--superlink", metavar="HOST:PORT", help="With --connect: reach this SuperLink over TLS.")
    ] = "",
    root_certificates: Annotated[
        Path | None, typer.Option("--root-certificates", metavar="FILE", help="Who signed the SuperLink's certificate.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Shows what this machine can do: versions, processor, device, precision, packaged model and data."""
    del debug
    from fedpeft_secure.doctor import examine

    if profile is not None:
        _profile(config, overrides or [], profile, as_json=as_json)
        return
    if config is not None or overrides:
        raise InputError("doctor: only --profile FILE looks at a configuration; leave CONFIG and --set away")
    if connect is None:
        findings = examine()
    else:
        from fedpeft_secure.engines.flower.checkup import examine_node

        findings = examine_node(connect, superlink=superlink, root_certificates=root_certificates)
    if as_json:
        sys.stdout.write(json.dumps({finding.name: finding.value for finding in findings}, indent=2) + "\n")
    else:
        for finding in findings:
            typer.echo(f"{'ok ' if finding.good else '-- '} {finding.name:<20} {finding.value}")


def _profile(config: Path | None, overrides: list[str], file: Path, *, as_json: bool) -> None:
    from fedpeft_secure.allocation.profile import measure_device, write_profile
    from fedpeft_secure.config_file import load_config

    if file.exists() or not file.parent.is_dir():
        raise InputError(f"--profile {file}: give a new file in a directory that is there")
    found = measure_device(load_config(config, overrides=overrides))
    write_profile(found, file)
    if as_json:
        steps = [{"step": name, "seconds": seconds, "predicted": fitted} for name, seconds, fitted in found.steps]
        sys.stdout.write(json.dumps({"processor": found.device.kind, "steps": steps}, indent=2) + "\n")
        return
    for name, seconds, fitted in found.steps:
        typer.echo(f"{name:<40} {seconds:.3f} s, {fitted:.3f} s by the profile")


Passphrase = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="Encrypt with it [default: FEDPEFT_PASSPHRASE, if set]."),
]


@app.command("keys", epilog="Example: fedpeft keys --out hospital-3.key --passphrase-file hospital-3.passphrase")
@one_line_errors
def keys_command(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new file for the private key (mode 0600).")],
    passphrase_file: Passphrase = None,
    debug: Debug = False,
) -> None:
    """Makes this party's own identity key, and prints the public half for everybody else's directory."""
    del debug
    from fedpeft_secure.engines.flower.settings import read_passphrase
    from secagg import Identity

    identity, passphrase = Identity.generate(), read_passphrase(passphrase_file)
    try:
        identity.save(out, passphrase=passphrase)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}; give a file in a directory that can be written") from None
    typer.echo(identity.public.hex())


@app.command(
    "key-directory", epilog="Example: fedpeft key-directory client-1=$KEY1 client-2=$KEY2 --out keys  # KEYs: `keys`"
)
@one_line_errors
def key_directory_command(
    members: Annotated[
        list[str], typer.Argument(metavar="NAME=PUBLIC...", help="Every client and the key that `keys` printed for it.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new file, the same for everybody.")],
    holder: Annotated[
        str | None, typer.Option("--key-holder", metavar="PUBLIC", help="The key that `key-holder init` printed.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Makes the directory of public keys that everybody pins, and prints its fingerprint to compare by telephone."""
    del debug
    from fedpeft_secure.key_directory import parse_directory, write_directory

    directory = parse_directory(members, key_holder=holder)
    write_directory(directory, out)
    typer.echo(directory.fingerprint.hex())


@app.command("node", epilog="Example: fedpeft node /etc/fedpeft/client-1.toml")
@one_line_errors
def node_command(
    settings: Annotated[Path, typer.Argument(metavar="SETTINGS", help="TOML file of this client's owner.")],
    debug: Debug = False,
) -> None:
    """Runs this client's worker: it keeps key, data and budget, and answers what its SuperNode hands over."""
    del debug
    from fedpeft_secure.engines.flower.work import run_node

    run_node(settings)


@key_holder.command("init", epilog="Example: fedpeft key-holder init --out key-holder")
@one_line_errors
def key_holder_init_command(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new directory (mode 0700).")],
    debug: Debug = False,
) -> None:
    """Makes a key holder's identity and memory, and prints the public half for everybody's directory."""
    del debug
    from fedpeft_secure.key_holder import make_key_holder

    typer.echo(make_key_holder(out).public.hex())


@key_holder.command("answer", epilog="Example: fedpeft key-holder answer key-holder --directory keys < ask > answer")
@one_line_errors
def key_holder_answer_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `init` made.")],
    directory: Annotated[Path, typer.Option("--directory", metavar="FILE", help="The pinned key directory.")],
    min_cohort: Annotated[int, typer.Option("--min-cohort", min=2, help="Fewest clients whose sum is opened.")] = 3,
    debug: Debug = False,
) -> None:
    """Answers one request of a server: reads it from standard input, writes the answer to standard output, as bytes."""
    del debug
    from fedpeft_secure.key_holder import answer_request
    from secagg import MAX_REQUEST_BYTES

    request = sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
    answer = answer_request(folder, request, directory=directory, min_cohort=min_cohort)
    try:
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again when it exits
        raise InputError(
            f"standard output: {error.strerror}; this answer is lost and is not given twice, plan another attempt"
        ) from None


@key_holder.command("serve", epilog="Example: fedpeft key-holder serve /etc/fedpeft/key-holder.toml")
@one_line_errors
def key_holder_serve_command(
    settings: Annotated[Path, typer.Argument(metavar="SETTINGS", help="TOML file of the key holder's owner.")],
    debug: Debug = False,
) -> None:
    """Runs the key holder's worker, which answers what its SuperNode hands over."""
    del debug
    from fedpeft_secure.engines.flower.work import run_holder

    run_holder(settings)


@bench.command("secure-sum", epilog="Example: fedpeft bench secure-sum --clients 100 --dim 100000 --dropout 0.1")
@one_line_errors
def bench_secure_sum_command(  # noqa: PLR0917 - typer calls by name
    clients: Annotated[int, typer.Option("--clients", min=2, help="Cohort.")] = 100,
    dim: Annotated[int, typer.Option("--dim", min=1, help="Values of a vector.")] = 100_000,
    dropout: Annotated[float, typer.Option("--dropout", help="Share that vanishes before it uploads.")] = 0.1,
    server: Annotated[
        str, typer.Option("--server", help="curious or malicious; bfv and ckks bear a curious one only.")
    ] = "malicious",
    bits: Annotated[int, typer.Option("--bits", min=2, max=32, help="Bits of a value.")] = 16,
    protocol: Annotated[str, typer.Option("--protocol", help="masked, helper, bfv or ckks.")] = "masked",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Times one round of a secure sum, all parties in this process."""
    del debug
    from dataclasses import asdict

    from fedpeft_secure.bench_table import cost_table
    from secagg.bench import measure

    cost = measure(clients=clients, dim=dim, dropout=dropout, server=server, bits=bits, protocol=protocol)
    _print(cost_table(cost), json.dumps(asdict(cost)), as_json=as_json)


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
