"""The curves of a run as still pictures."""

import math
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluations.report.reading import Run
from evaluations.report.roc_charts import roc_stills
from evaluations.report.stills import COLOURS, MUTED, blank_axes, stills
from evaluations.report.verdicts import VIEW_NAMES, grouped, trajectories
from fedpeft_secure.result import AttackRow

MOST_LINES = 12


def still_figures(run: Run) -> dict[str, bytes]:
    """Every figure that the run has data for, as file name and content."""
    return stills(
        {
            "accuracy": partial(_accuracy, run),
            "privacy": partial(_privacy, run),
            "attacks": partial(_attacks, run),
            **roc_stills(run.result.attacks),
        }
    )


def _accuracy(run: Run) -> Figure | None:
    points = [(record.round, record.accuracy) for record in run.rounds if record.accuracy is not None]
    if not points:
        return None
    utility = run.result.utility
    figure, axes = blank_axes(4.8, 3.0)
    axes.plot(*zip(*points, strict=True), color=COLOURS[0], marker="o", markersize=3, label="validation")
    axes.axhline(utility.majority_baseline, color=MUTED, linestyle="--", linewidth=1, label="majority baseline")
    axes.plot([points[-1][0]], [utility.accuracy], "D", color=COLOURS[1], markersize=5, label="test")
    axes.set(xlabel="round", ylabel="accuracy")
    axes.legend()
    return figure


def _privacy(run: Run) -> Figure | None:
    found = trajectories(run.rounds, run.result.privacy)[:MOST_LINES]
    if not found:
        return None
    figure, axes = blank_axes(4.8, 3.0)
    for index, item in enumerate(found):
        colour = COLOURS[index] if index < len(COLOURS) else MUTED
        axes.plot(*zip(*item.points, strict=True), color=colour, marker="o", markersize=2.5, label=item.label)
        if math.isfinite(item.budget):
            axes.axhline(item.budget, color=colour, linestyle="--", linewidth=1)
    axes.set(xlabel="round", ylabel="ε spent (budget dashed)")
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _attacks(run: Run) -> Figure | None:
    groups = grouped(run.result.attacks)
    if not groups:
        return None
    figure = Figure(figsize=(3.4 * len(groups), 2.6), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, ((attack, metric), rows) in zip(panels, groups.items(), strict=True):
        _dots(axes, rows)
        axes.set_title(attack, fontsize=9)
        axes.set_xlabel(metric)
    return figure


def _dots(axes: Axes, rows: list[AttackRow]) -> None:
    for line, row in enumerate(rows):
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [line, line], color=COLOURS[0], linewidth=1.2)
        face = "white" if row.replay else COLOURS[0]
        axes.plot([row.value or 0.0], [line], "o", color=COLOURS[0], markerfacecolor=face, markersize=5)
        if row.null is not None:
            axes.plot([row.null], [line], "|", color=MUTED, markersize=10, markeredgewidth=1.5)
    names = [VIEW_NAMES[row.view] + (" (replay)" if row.replay else "") for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
