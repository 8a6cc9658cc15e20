"""Experiments of many runs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedpeft_secure.cli.app import (
    ConfigPath,
    Debug,
    Json,
    Out,
    Overrides,
    app,
    default_out,
    one_line_errors,
    show_rows,
    show_table,
)
from fedpeft_secure.errors import InputError


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
    show_rows([row.model_dump(mode="json") for row in found.rows], screen(found), as_json=as_json)
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
        show_table(screen(submission := read_submission(check)), submission.to_json(), as_json=as_json)
        return
    wanted = choose(attacks=attacks or (), views=views or (), defences=defences or (), fast=fast)
    loaded = load_config(config, overrides=overrides or ())
    directory = out or default_out()
    with progress(Console(stderr=True)) as listen:
        found = matrix(loaded, wanted, out=directory, listen=listen)
    show_table(screen(found), found.to_json(), as_json=as_json)
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
    show_table(screen(found), found.to_json(), as_json=as_json)
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
    show_table(screen(found), found.to_json(), as_json=as_json)
    typer.echo(f"report: {directory / 'report.html'}", err=True)
    require_found(found)
