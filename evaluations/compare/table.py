"""The outcome of a comparison: rows with intervals, as JSON, as Markdown and on the screen."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.console import Group
from rich.table import Table

from evaluations.compare.arms import DEFAULT, Refused
from evaluations.compare.cells import Cell
from evaluations.compare.differences import interval
from evaluations.leaks import Leak, leaks_over_seeds
from evaluations.report.formatting import data_size, number, significant

COSTS = ("upload", "download", "GFLOP", "memory", "seconds", "ε")
"""Columns of what an arm costs."""


class Row(BaseModel):
    """One arm against the default.

    Args:
        arm, strategy: as in `Cell`.
        accuracy, low, high: mean over seeds and test examples with its 95 % interval.
        difference, difference_low, difference_high: to the default, paired; the interval is one of 95 % for this row.
        significant: whether it still differs when all rows' intervals are to hold together.
        precision, recall, f1, upload_bytes, download_bytes, flops, seconds: means over seeds.
        epsilon, peak_memory_bytes: the largest.
        leaks: what attacks got, where they were played.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arm: str
    strategy: str
    seeds: tuple[int, ...]
    accuracy: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    significant: bool
    precision: float | None
    recall: float | None
    f1: float | None
    upload_bytes: float | None
    download_bytes: float | None
    flops: float | None
    peak_memory_bytes: int | None
    epsilon: float | None
    seconds: float
    leaks: tuple[Leak, ...] = ()


class Comparison(BaseModel):
    """All rows, the best first, and the arms that this configuration refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: tuple[Row, ...]
    refused: dict[str, str]


def summarise(cells: Sequence[Cell], refused: Sequence[Refused]) -> Comparison:
    """Rows of all arms that have a cell for every seed of the default."""
    by_arm: dict[str, list[Cell]] = {}
    for one in sorted(cells, key=lambda one: one.seed):
        by_arm.setdefault(one.arm, []).append(one)
    default = np.array([one.correct for one in by_arm[DEFAULT]])
    rows = [_row(found, default, comparisons=max(1, len(by_arm) - 1)) for found in by_arm.values()]
    rows.sort(key=lambda row: row.accuracy, reverse=True)
    return Comparison(rows=tuple(rows), refused={one.name: one.reason for one in refused})


def markdown(comparison: Comparison) -> str:
    """A table for a document; accuracies and differences in percent and percentage points."""
    heads = _heads(comparison)
    lines = [
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
        *(f"| {' | '.join(_texts(row, comparison))} |" for row in comparison.rows),
    ]
    if comparison.refused:
        lines += ["", *(f"* `{name}` is refused here: {reason}" for name, reason in comparison.refused.items())]
    return "\n".join(lines) + "\n"


def screen(comparison: Comparison) -> Group:
    """The same for a terminal, what arms reach apart from what they cost: one table is wider than most terminals."""
    heads = _heads(comparison)
    costs = [index for index, head in enumerate(heads) if head in COSTS]
    reached = [index for index in range(1, len(heads)) if index not in costs]
    results = _columns(comparison, reached)
    for name in comparison.refused:
        results.add_row(name, "refused")
    return Group(results, _columns(comparison, costs))


def leak_kinds(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    """Every (attack, metric) that was played on some arm."""
    return tuple(dict.fromkeys((leak.attack, leak.metric) for row in comparison.rows for leak in row.leaks))


def _row(cells: Sequence[Cell], default: np.ndarray, *, comparisons: int) -> Row:
    correct = np.array([one.correct for one in cells])
    accuracy, difference = interval(correct), interval(correct - default)
    together = interval(correct - default, comparisons=comparisons)
    spent = [one.epsilon for one in cells if one.epsilon is not None]
    return Row(
        arm=cells[0].arm,
        strategy=cells[0].strategy,
        seeds=tuple(one.seed for one in cells),
        accuracy=accuracy.mean,
        low=accuracy.low,
        high=accuracy.high,
        difference=difference.mean,
        difference_low=difference.low,
        difference_high=difference.high,
        significant=together.low > 0 or together.high < 0,
        precision=_mean([one.precision for one in cells]),
        recall=_mean([one.recall for one in cells]),
        f1=_mean([one.f1 for one in cells]),
        flops=_mean([one.flops for one in cells]),
        peak_memory_bytes=max((one.peak_memory_bytes for one in cells if one.peak_memory_bytes), default=None),
        leaks=leaks_over_seeds([one.attacks for one in cells]),
        upload_bytes=_mean([one.upload_bytes for one in cells]),
        download_bytes=_mean([one.download_bytes for one in cells]),
        epsilon=max(spent, default=None),
        seconds=float(np.mean([one.seconds for one in cells])),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _columns(comparison: Comparison, chosen: Sequence[int]) -> Table:
    """A table of the arms and some columns."""
    heads = _heads(comparison)
    table = Table(*(heads[index] for index in (0, *chosen)))
    for row in comparison.rows:
        texts = _texts(row, comparison)
        table.add_row(*(texts[index] for index in (0, *chosen)))
    return table


def _heads(comparison: Comparison) -> tuple[str, ...]:
    leaks = (" ".join(kind) for kind in leak_kinds(comparison))
    return ("arm", "accuracy %", "difference to default", "F1 %", *COSTS, *leaks)


def _texts(row: Row, comparison: Comparison) -> tuple[str, ...]:
    name = f"{row.arm} ({row.strategy})" if row.arm == DEFAULT else row.arm
    difference = "" if row.arm == DEFAULT else _percent(row.difference, row.difference_low, row.difference_high, "+")
    up, down, memory = (
        "–" if size is None else data_size(size)
        for size in (row.upload_bytes, row.download_bytes, row.peak_memory_bytes)
    )
    leaks = {(leak.attack, leak.metric): number(leak.value.mean) for leak in row.leaks}
    return (
        name,
        _percent(row.accuracy, row.low, row.high),
        difference + "*" * row.significant,
        "–" if row.f1 is None else f"{100 * row.f1:.1f}",
        up,
        down,
        "–" if row.flops is None else significant(row.flops / 1e9),
        memory,
        f"{row.seconds:.0f}",
        "–" if row.epsilon is None else f"{row.epsilon:.2f}",
        *(leaks.get(kind, "–") for kind in leak_kinds(comparison)),
    )


def _percent(mean: float, low: float, high: float, sign: str = "") -> str:
    return f"{100 * mean:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"
