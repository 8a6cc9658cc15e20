"""From finished cells to points, frontiers and what the numbers do not carry."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluations.leaks import leaks_over_seeds
from evaluations.spread import spread
from evaluations.sweep.frontier import leak_frontiers, steps_along, utility_frontier
from evaluations.sweep.grid import Grid, GridCell, Refused
from evaluations.sweep.results import Label, Missing, Point, Sweep
from fedpeft_secure.result import Result

WIDE = 0.05
"""Half an interval of accuracy from which a point alone says little."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A cell with its result."""

    cell: GridCell
    result: Result


def summarise(grid: Grid, finished: Sequence[Finished], failures: Mapping[str, str]) -> Sweep:
    """Everything that a sweep says.

    Args:
        grid: what was planned.
        finished: at least one, in the order of the grid.
        failures: names of cells → why they have no result.
    """
    groups: dict[str, list[Finished]] = {}
    for one in finished:
        groups.setdefault(repr(one.cell.values), []).append(one)
    points = leak_frontiers(utility_frontier([_point(group) for group in groups.values()]))
    first = finished[0].result
    return Sweep(
        model=first.setup.model,
        data=first.setup.data,
        axes={axis.key: axis.values for axis in grid.axes},
        seeds=grid.seeds,
        points=tuple(points),
        steps=steps_along([point for point in points if point.frontier]),
        missing=(*_refused(grid.refused), *_failed(grid.cells, failures)),
        privacy=label(finished),
        cell_seconds=sum(one.result.compute.seconds["total"] for one in finished),
        versions=first.environment.versions,
        processor=first.environment.processor,
    )


def label(finished: Sequence[Finished]) -> Label:
    """What the ε of all cells together mean: choosing among them is a use of all of them.

    Guarantee: basic composition, (Σ ε, Σ δ), holds whatever the cells are.
    Assumes: every example lies with one client in each cell.
    Does not cover: what one ledger counts; it counts better.
    """
    private = [one for one in finished if one.result.privacy.private]
    if not private:
        return Label(
            kind="not private",
            statement="No cell has a finite ε: nothing bounds what the cells, or the choice among them, reveal.",
            together_epsilon=math.inf,
            together_delta=None,
        )
    ledgers = {one.cell.config.privacy.ledger for one in finished}
    if ledgers != {"run"}:
        return Label(
            kind="one ledger",
            statement="All cells are charged to one ledger. Each ε covers everything on it up to and including its own "
            "cell, so the last one covers the whole sweep and the choice among its cells.",
            together_epsilon=None,
            together_delta=None,
        )
    epsilon = sum(_largest_epsilon(one.result) for one in finished)
    together = (
        "The cells without a finite ε are covered by nothing, and so is a choice that looks at them."
        if math.isinf(epsilon)
        else f"Whoever trains all of them on private data and picks one spends up to ε = {epsilon:.2f} (basic "
        "composition), not the ε of the one that is picked."
    )
    return Label(
        kind="simulation",
        statement="Simulation: noise came from seeds, and each cell has a ledger of its own. The ε of a cell is what "
        f"that training alone would spend with noise from a secure generator. {together}",
        together_epsilon=epsilon,
        together_delta=None if math.isinf(epsilon) else sum(_delta(one.result) for one in private),
    )


def _point(group: Sequence[Finished]) -> Point:
    results = [one.result for one in group]
    noises = {result.privacy.noise for result in results}
    by_seed = tuple(result.utility.accuracy for result in results)
    accuracy = spread(by_seed)
    epsilon = max(_largest_epsilon(result) for result in results)
    baseline = max(result.utility.majority_baseline for result in results)
    return Point(
        values=dict(group[0].cell.values),
        seeds=tuple(one.cell.seed for one in group),
        runs=tuple(f"cells/{one.cell.name}" for one in group),
        by_seed=by_seed,
        accuracy=accuracy,
        precision=spread([result.utility.precision for result in results]),
        recall=spread([result.utility.recall for result in results]),
        f1=spread([result.utility.f1 for result in results]),
        loss=spread([result.utility.loss for result in results]),
        majority_baseline=baseline,
        epsilon=epsilon,
        delta=max(_delta(result) for result in results),
        noise=noises.pop() if len(noises) == 1 else "simulation",
        upload_bytes=_mean([result.communication.upload_bytes for result in results]),
        download_bytes=_mean([result.communication.download_bytes for result in results]),
        seconds=_mean([result.compute.seconds["total"] for result in results]),
        peak_memory_bytes=max(result.compute.peak_memory_bytes for result in results),
        leaks=leaks_over_seeds([result.attacks for result in results]),
        warnings=_warnings(accuracy.half_width, accuracy.low, baseline),
    )


def _warnings(half: float | None, low: float | None, baseline: float) -> tuple[str, ...]:
    if half is None or low is None:
        return ("one seed: there is no interval, so nothing says how much is luck",)
    found = []
    if half > WIDE:
        found.append(f"the interval is ±{half:.3f}: too wide to conclude from this point, add seeds")
    if low <= baseline:
        found.append(f"the interval reaches the majority baseline of {baseline:.3f}: perhaps nothing was learned")
    return tuple(found)


def _largest_epsilon(result: Result) -> float:
    if not result.privacy.private:
        return math.inf
    return max((row.epsilon_spent for row in result.privacy.clients), default=math.inf)


def _delta(result: Result) -> float:
    return max((row.delta for row in result.privacy.clients), default=0.0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _refused(refused: Sequence[Refused]) -> list[Missing]:
    return [Missing(values=dict(one.values), seed=None, kind="refused", reason=one.reason) for one in refused]


def _failed(cells: Sequence[GridCell], failures: Mapping[str, str]) -> list[Missing]:
    return [
        Missing(values=dict(cell.values), seed=cell.seed, kind="failed", reason=failures[cell.name])
        for cell in cells
        if cell.name in failures
    ]
