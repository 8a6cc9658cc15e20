"""Pareto frontiers: the points that no other beats in both respects, and whether their steps are more than luck."""

from collections.abc import Sequence
from itertools import pairwise

from evaluations.leaks import Leak
from evaluations.spread import spread
from evaluations.sweep.results import Point, Step


def undominated(costs: Sequence[float], gains: Sequence[float]) -> list[bool]:
    """For each point, whether no other one has at most its cost and at least its gain, and is better in one of them."""
    return [
        not any(
            (costs[j] <= costs[i] and gains[j] >= gains[i]) and (costs[j] < costs[i] or gains[j] > gains[i])
            for j in range(len(costs))
        )
        for i in range(len(costs))
    ]


def utility_frontier(points: Sequence[Point]) -> list[Point]:
    """The points by ε, those on the frontier of mean accuracy against ε marked: one for each δ and privacy unit."""
    marked = []
    for group in _by_guarantee(points):
        marks = undominated([point.epsilon for point in group], [point.accuracy.mean for point in group])
        marked += [point.model_copy(update={"frontier": mark}) for point, mark in zip(group, marks, strict=True)]
    return sorted(marked, key=lambda point: point.epsilon)


def lines_of(points: Sequence[Point]) -> list[list[Point]]:
    """The points on the frontier of each guarantee, as they come."""
    return _by_guarantee([point for point in points if point.frontier])


def leak_frontiers(points: Sequence[Point]) -> list[Point]:
    """The points, with those marked that are on the frontier of mean accuracy against an attack's mean score."""
    kinds = dict.fromkeys((leak.attack, leak.metric) for point in points for leak in point.leaks)
    found = list(points)
    for kind in kinds:
        places = [(place, leak) for place, point in enumerate(found) if (leak := leak_of(point, kind)) is not None]
        costs = [leak.value.mean for _, leak in places]
        marks = undominated(costs, [found[place].accuracy.mean for place, _ in places])
        for (place, leak), mark in zip(places, marks, strict=True):
            replaced = leak.model_copy(update={"frontier": mark})
            leaks = tuple(replaced if each is leak else each for each in found[place].leaks)
            found[place] = found[place].model_copy(update={"leaks": leaks})
    return found


def leak_of(point: Point, kind: tuple[str, str]) -> Leak | None:
    """What (attack, metric) got of a point."""
    return next((leak for leak in point.leaks if (leak.attack, leak.metric) == kind), None)


def steps_along(frontier: Sequence[Point]) -> tuple[Step, ...]:
    """From each point of a frontier, sorted by ε, to the next of the same guarantee: paired seed by seed."""
    steps = []
    for start, end in (pair for line in lines_of(frontier) for pair in pairwise(line)):
        before = dict(zip(start.seeds, start.by_seed, strict=True))
        common = [value - before[seed] for seed, value in zip(end.seeds, end.by_seed, strict=True) if seed in before]
        difference = spread(common) if common else None
        conclusive = difference is not None and difference.low is not None and difference.low > 0
        steps.append(Step(start=start.values, end=end.values, difference=difference, conclusive=conclusive))
    return tuple(steps)


def _by_guarantee(points: Sequence[Point]) -> list[list[Point]]:
    """The points of each δ, and privacy unit where the sweep has several: ε of others cannot be compared."""
    groups: dict[tuple[float, object], list[Point]] = {}
    for point in points:
        groups.setdefault((point.delta, point.values.get("privacy.unit")), []).append(point)
    return list(groups.values())
