"""The whole sweep: cells in worker processes, each a run directory that stays, and the summary of what is there."""

import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from evaluations.sweep.files import write_tables
from evaluations.sweep.grid import Axis, Grid, GridCell, absolute_ledger, parse_axes, plan_grid, values_text
from evaluations.sweep.page import write_sweep_page
from evaluations.sweep.results import Sweep
from evaluations.sweep.summary import Finished, summarise
from evaluations.workers import Job, Order, Report, default_processes, run_jobs
from fedpeft_secure.config_file import dump_config
from fedpeft_secure.errors import InputError, RunDirectoryError, RunFailedError
from fedpeft_secure.events import Listener, Notice, PhaseStarted
from fedpeft_secure.result import Result
from fedpeft_secure.rundir import RunDirectory, exclusive, write_atomically

PLAN = "sweep.toml"
CELLS = "cells"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a sweep is of, as `sweep.toml` keeps it: the shared settings as they were given, the axes, the seeds."""

    tables: Mapping[str, Any]
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]

    def to_toml(self) -> str:
        """The text of `sweep.toml`."""
        over = {axis.key: list(axis.values) for axis in self.axes}
        return tomli_w.dumps({"seeds": list(self.seeds), "over": over, "config": dict(self.tables)})

    @classmethod
    def read(cls, out: Path) -> "Plan":
        """What the sweep in `out` is of.

        Raises:
            RunDirectoryError: If there is none.
        """
        try:
            found = tomllib.loads((out / PLAN).read_text("utf-8"))
            axes = tuple(Axis(key=key, values=tuple(values)) for key, values in found["over"].items())
            return cls(tables=found["config"], axes=axes, seeds=tuple(found["seeds"]))
        except (OSError, tomllib.TOMLDecodeError, KeyError, AttributeError, TypeError):
            raise RunDirectoryError(
                f"{out}: no sweep (there is no readable {PLAN} in it); give a directory that `fedpeft sweep` made"
            ) from None


def new_plan(tables: Mapping[str, Any], *, over: Sequence[str], seeds: int) -> Plan:
    """A sweep of shared settings over the values of `over`, each at `seeds` seeds from the configured one up.

    Raises:
        InputError: Names `--over` or `--seeds` and the remedy.
    """
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: give at least 1")
    first = tables.get("seed", 0)
    if not isinstance(first, int):
        raise InputError(f"seed: should be a whole number, got {first!r}")
    return Plan(tables=absolute_ledger(tables), axes=parse_axes(over), seeds=tuple(range(first, first + seeds)))


def sweep(plan: Plan, *, out: Path, processes: int | None = None, listen: Listener) -> Sweep:
    """Trains every cell that `out` does not hold yet, and writes what all of them say.

    A cell that fails is reported and stops no other. Killed at any moment, a sweep loses at most the rounds in
    progress; called again it goes on, also with more values or seeds.

    Args:
        plan: from `new_plan`, or of an earlier sweep by `Plan.read`.
        out: the sweep's directory.
        processes: how many cells at once; None for what cores and memory allow.
        listen: told about progress.

    Raises:
        InputError: If values are wrong, `out` holds a sweep of other settings, or another process works in it.
        RunFailedError: If no cell has a result.
    """
    grid = plan_grid(plan.tables, plan.axes, plan.seeds)
    processes = _checked_processes(grid, processes)
    _begin(plan, out)
    with exclusive(RunDirectory(root=out)):
        write_atomically(out / PLAN, plan.to_toml().encode())
        failures = _train(grid, out, processes=processes, listen=listen)
        finished = [
            Finished(cell=cell, result=found) for cell in grid.cells if (found := _result(out, cell)) is not None
        ]
        if not finished:
            raise RunFailedError(f"no cell of the sweep has a result; the first: {next(iter(failures.values()))}")
        summary = summarise(grid, finished, failures)
        write_atomically(out / "sweep.json", summary.to_json().encode())
        write_tables(out, grid, finished, failures)
        write_sweep_page(out, summary, plan.to_toml())
    return summary


def require_complete(found: Sweep, out: Path) -> None:
    """Fails where a cell failed, once everything else is written.

    Raises:
        RunFailedError: Says which was the first, and how to try again.
    """
    if found.failed:
        first = found.failed[0]
        raise RunFailedError(
            f"{len(found.failed)} of the cells failed, the first ({values_text(first.values)}, seed {first.seed}) "
            f"because {first.reason}; `fedpeft sweep --resume {out}` tries them again"
        )


def _checked_processes(grid: Grid, processes: int | None) -> int:
    """How many at once; cells on one ledger come one after another, and with the same data."""
    ledgers = {cell.config.privacy.ledger for cell in grid.cells}
    noise = {cell.config.privacy.noise for cell in grid.cells}
    private = any(cell.config.is_private(name) for cell in grid.cells for name in cell.config.client_names)
    if ledgers == {"run"}:
        if private and "secure" in noise:
            raise InputError(
                "privacy.noise: with secure noise every cell spends real budget, and a choice among cells spends all "
                'of it: give one privacy.ledger for the sweep, or use noise = "simulation"'
            )
        return processes or default_processes(len(grid.cells))
    if len(grid.seeds) > 1:
        raise InputError(
            "--seeds: each seed deals the examples to other clients, and a shared privacy.ledger holds charges of one "
            'deal; use --seeds 1, or privacy.ledger = "run"'
        )
    if processes is not None and processes > 1:
        raise InputError(f"--processes {processes}: cells on one privacy.ledger come one after another; use 1")
    return 1


def _begin(plan: Plan, out: Path) -> None:
    """Makes the directory, or makes sure that it is one of the same settings."""
    if (out / PLAN).exists():
        if Plan.read(out).tables != plan.tables:
            raise RunDirectoryError(
                f"--out {out}: holds a sweep of other settings (CONFIG, --set); give a new directory, or --resume it"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunDirectoryError(f"--out {out}: in use already, and no sweep; give a new directory")
    try:
        (out / CELLS).mkdir(parents=True)
    except OSError as error:
        raise RunDirectoryError(f"--out {out}: {error.strerror}; give a directory that can be written") from None


def _result(out: Path, cell: GridCell) -> Result | None:
    path = RunDirectory(root=out / CELLS / cell.name).result
    return Result.from_json(path.read_text("utf-8")) if path.exists() else None


def _train(grid: Grid, out: Path, *, processes: int, listen: Listener) -> dict[str, str]:
    """Runs what is missing; names of failed cells → reasons."""
    missing = [cell for cell in grid.cells if _result(out, cell) is None]
    for one in grid.refused:
        listen(Notice(text=f"refused: {one.reason}"))
    done = len(grid.cells) - len(missing)
    if done:
        listen(Notice(text=f"{done} of {len(grid.cells)} cells are there already"))
    if not missing:
        return {}
    processes = min(processes, len(missing))
    listen(Notice(text=f"{len(missing)} cells to train, {processes} at once"))
    jobs = [
        Job(
            place=place,
            group=cell.seed,
            order=Order(config=dump_config(cell.config), folder=str(out / CELLS / cell.name)),
        )
        for place, cell in enumerate(missing)
    ]
    board = _Board(out=out, cells=missing, total=len(grid.cells), done=done, processes=processes, listen=listen)
    run_jobs(jobs, processes=processes, logs=out / "logs", heard=board.hear)
    return board.failures


@dataclass(kw_only=True, slots=True, eq=False)
class _Board:
    """Turns reports into progress and keeps the failures."""

    out: Path
    cells: Sequence[GridCell]
    total: int
    done: int
    processes: int
    listen: Listener
    failures: dict[str, str] = field(default_factory=dict)
    running: dict[int, str] = field(default_factory=dict)
    ended: int = 0
    started: float = field(default_factory=time.monotonic)

    def hear(self, job: Job, report: Report) -> None:
        """One report."""
        cell = self.cells[job.place]
        if report.kind == "round":
            self.running[job.place] = f"{cell.title}: round {report.round} of {report.rounds}"
            self.listen(PhaseStarted(name="; ".join(self.running.values()), round=report.round))
            return
        self.running.pop(job.place, None)
        self.ended += 1
        if report.kind == "failed":
            self.failures[cell.name] = report.text
            self.listen(Notice(text=f"FAILED: {cell.title}: {report.text}"))
            return
        self.done += 1
        self.listen(Notice(text=f"{cell.title}: {self._figures(cell)} ({self.done} of {self.total}{self._left()})"))

    def _figures(self, cell: GridCell) -> str:
        found = _result(self.out, cell)
        if found is None:
            return "no result"
        spent = max((row.epsilon_spent for row in found.privacy.clients), default=float("inf"))
        epsilon = f"ε {spent:.2f}" if found.privacy.private else "no privacy"
        return f"accuracy {found.utility.accuracy:.3f}, {epsilon}, {found.compute.seconds['total']:.0f} s"

    def _left(self) -> str:
        left = len(self.cells) - self.ended
        if not left:
            return ""
        minutes = (time.monotonic() - self.started) / self.ended * left / 60
        return f", about {max(1, round(minutes))} min left"
