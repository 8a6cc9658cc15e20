"""The frontiers of a sweep as still pictures."""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluations.report import formatting as text
from evaluations.report.stills import COLOURS, MUTED, Drawing, blank_axes, stills
from evaluations.sweep.frontier import lines_of
from evaluations.sweep.grid import value_text
from evaluations.sweep.results import Sweep
from evaluations.sweep.series import EPSILON, epsilon_scale, has_epsilons, leak_kinds, leaking, series_along


def pictures(found: Sweep) -> dict[str, bytes]:
    """`frontier` and one `leak-N` for each attack and metric, each as PNG and SVG."""
    drawings: dict[str, Drawing] = {"frontier": partial(_frontier, found)}
    for number, kind in enumerate(leak_kinds(found), start=1):
        drawings[f"leak-{number}"] = partial(_leak, found, kind)
    return stills(drawings)


def _frontier(found: Sweep) -> Figure | None:
    if not has_epsilons(found):
        return None
    figure, axes = blank_axes(4.8, 3.2)
    baseline = max(point.majority_baseline for point in found.points)
    axes.axhline(baseline, color=MUTED, linestyle=":", linewidth=1, label="majority baseline")
    for index, series in enumerate(series_along(found.points, EPSILON)):
        colour = COLOURS[index] if index < len(COLOURS) else MUTED
        places = epsilon_scale(series.points, found.points).positions
        means = [point.accuracy.mean for point in series.points]
        bars = [point.accuracy.half_width or 0.0 for point in series.points]
        axes.errorbar(
            places, means, yerr=bars, color=colour, marker="o", markersize=4, linewidth=1.2, capsize=3,
            label=text.cut(series.name) or f"mean of {len(found.seeds)} seeds, 95 % interval",
        )  # fmt: skip
        for place, point in zip(places, series.points, strict=True):
            axes.plot([place] * len(point.by_seed), point.by_seed, ".", color=colour, alpha=0.45, markersize=4)
    for number, line in enumerate(lines_of(found.points)):
        places = epsilon_scale(line, found.points).positions
        axes.step(places, [point.accuracy.mean for point in line], where="post", color="black", linestyle="--",
                  linewidth=1, label="frontier" if number == 0 else None)  # fmt: skip
    ticks = epsilon_scale(found.points, found.points).ticks
    axes.set_xticks([place for place, _ in ticks], [name for _, name in ticks])
    simulated = " (seeded noise: simulation)" if found.privacy.kind == "simulation" else ""
    axes.set(xlabel=f"ε spent by one cell{simulated}", ylabel="test accuracy")
    axes.legend(fontsize=8)
    return figure


def _leak(found: Sweep, kind: tuple[str, str]) -> Figure | None:
    figure, axes = blank_axes(4.8, 3.2)
    pairs = leaking(found, kind)
    for point, leak in pairs:
        face = COLOURS[0] if leak.frontier else "white"
        axes.errorbar(
            [leak.value.mean], [point.accuracy.mean], xerr=[leak.value.half_width or 0.0],
            yerr=[point.accuracy.half_width or 0.0], color=COLOURS[0], marker="o", markerfacecolor=face, capsize=3,
            linewidth=1,
        )  # fmt: skip
        _name(axes, (leak.value.mean, point.accuracy.mean), text.cut(", ".join(map(value_text, point.values.values()))))
    nulls = [leak.null for _, leak in pairs if leak.null is not None]
    if nulls:
        axes.axvline(sum(nulls) / len(nulls), color=MUTED, linestyle=":", linewidth=1)
    axes.set(xlabel=" ".join(kind) + " (null control dotted)", ylabel="test accuracy")
    return figure


def _name(axes: Axes, place: tuple[float, float], words: str) -> None:
    axes.annotate(words, place, xytext=(5, 5), textcoords="offset points", fontsize=7, color=MUTED)
