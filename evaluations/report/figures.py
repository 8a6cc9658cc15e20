"""The same curves as still pictures for papers: PNG at 200 dpi and SVG with text left as text."""

import math
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluations.report.reading import Run
from evaluations.report.verdicts import VIEW_NAMES, grouped, trajectories
from fedpeft_secure.result import AttackRow

COLOURS = ("#1d5b8f", "#a8481c", "#2a7554", "#75489a", "#806000", "#a62b5a")
MUTED = "#666666"
MOST_LINES = 12
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "fedpeft-secure",
}


def still_figures(run: Run) -> dict[str, bytes]:
    """Every figure that the run has data for, as file name and content."""
    found: dict[str, bytes] = {}
    drawings = {"accuracy": _accuracy, "privacy": _privacy, "attacks": _attacks}
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        for name, draw in drawings.items():
            figure = draw(run)
            if figure is not None:
                found[f"{name}.png"] = _saved(figure, "png")
                found[f"{name}.svg"] = _saved(figure, "svg")
    return found


def _accuracy(run: Run) -> Figure | None:
    points = [(record.round, record.accuracy) for record in run.rounds if record.accuracy is not None]
    if not points:
        return None
    utility = run.result.utility
    figure, axes = _axes(4.8, 3.0)
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
    figure, axes = _axes(4.8, 3.0)
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


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _saved(figure: Figure, kind: str) -> bytes:
    buffer = BytesIO()
    write: Callable[..., None] = figure.savefig
    write(buffer, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return buffer.getvalue()
