"""How points are laid out in a picture, for the interactive one and the still one alike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluations.leaks import Leak
from evaluations.report import formatting as text
from evaluations.sweep.frontier import leak_of
from evaluations.sweep.grid import value_text
from evaluations.sweep.results import Point, Sweep

EPSILON = "privacy.epsilon"
NO_LIMIT_GAP = 0.45
"""How far to the right of the largest finite ε, in powers of ten, "no limit" stands."""
TICK_GAP = 0.08


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Points that differ in one axis alone, and what they have in common."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Where each point stands along an axis, and what is written there."""

    positions: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]


def series_along(points: Sequence[Point], key: str) -> tuple[Series, ...]:
    """The points as lines along the axis `key`."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        rest = ", ".join(f"{name} = {value_text(value)}" for name, value in point.values.items() if name != key)
        groups.setdefault(rest, []).append(point)
    return tuple(Series(name=name, points=tuple(group)) for name, group in groups.items())


def epsilon_scale(points: Sequence[Point], among: Sequence[Point]) -> Scale:
    """Logarithms of ε, infinity at the right end.

    Args:
        points: whose positions are wanted.
        among: all that share the axis.
    """
    finite = [math.log10(point.epsilon) for point in among if 0 < point.epsilon < math.inf]
    end = max(finite, default=0.0) + NO_LIMIT_GAP
    ticks: list[tuple[float, str]] = []
    for place in sorted(finite):
        if not ticks or place - ticks[-1][0] > TICK_GAP:
            ticks.append((place, text.significant(10**place, digits=2)))
    if any(math.isinf(point.epsilon) for point in among):
        ticks.append((end, "no limit"))
    places = [end if math.isinf(point.epsilon) else math.log10(max(point.epsilon, 1e-6)) for point in points]
    return Scale(positions=tuple(places), ticks=tuple(ticks))


def axis_scale(points: Sequence[Point], values: Sequence[object], key: str) -> Scale:
    """One place for each of an axis's values, in their order."""
    names = [value_text(value) for value in values]
    positions = tuple(float(names.index(value_text(point.values[key]))) for point in points)
    return Scale(positions=positions, ticks=tuple((float(place), text.cut(name)) for place, name in enumerate(names)))


def has_epsilons(found: Sweep) -> bool:
    """Whether ε differs between points, so that there is a frontier to draw."""
    return len({round(point.epsilon, 9) for point in found.points}) > 1


def leak_kinds(found: Sweep) -> tuple[tuple[str, str], ...]:
    """Every (attack, metric) that was measured at some point."""
    return tuple(dict.fromkeys((leak.attack, leak.metric) for point in found.points for leak in point.leaks))


def leaking(found: Sweep, kind: tuple[str, str]) -> tuple[tuple[Point, Leak], ...]:
    """The points at which (attack, metric) was measured, and what it got there."""
    return tuple((point, leak) for point in found.points if (leak := leak_of(point, kind)) is not None)
