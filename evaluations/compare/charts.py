"""Pictures of a comparison: who is how accurate, by how much it differs, and at what upload."""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.figure import Figure

from evaluations.compare.arms import DEFAULT
from evaluations.compare.table import Comparison, Row
from evaluations.report import formatting as text
from evaluations.report.charts import INK, MUTED, PALETTE, blank_figure, finished_chart, plain
from evaluations.report.elements import Chart
from evaluations.report.stills import COLOURS, blank_axes, stills
from evaluations.report.stills import MUTED as GREY

PLACES = ("middle right", "middle left", "top right", "bottom left")
"""Of labels beside dots, in the order in which neighbours take them."""

NEAR = 0.06
"""Share of the height within which labels would touch."""

FAR = 1e3
"""Ratio of sizes from which an axis names powers of ten alone."""

Ends = tuple[float, float, float]
"""Low, middle, high."""


def comparison_charts(found: Comparison) -> tuple[Chart, ...]:
    """Accuracies, and differences to the default where there is anything to compare with it."""
    others = [row for row in found.rows if row.arm != DEFAULT]
    charts = [_dots("accuracy", "accuracy", found.rows, _accuracy, "Test accuracy with 95 % intervals, best on top.")]
    if others:
        caption = "Difference to the default, paired by seed and test example. Filled: significant among all arms."
        charts.append(_dots("difference", "difference in accuracy", others, _difference, caption))
    return tuple(charts)


def upload_chart(found: Comparison) -> Chart | None:
    """Accuracy against upload; None where nothing is sent."""
    sent = [row for row in found.rows if row.upload_bytes]
    if not sent:
        return None
    figure = blank_figure("sent by a client in a round (logarithmic)", "accuracy")
    figure.add_scatter(
        x=[row.upload_bytes for row in sent],
        y=[row.accuracy for row in sent],
        mode="markers+text",
        text=[plain(text.cut(row.arm)) for row in sent],
        textposition=_label_places(sent),
        textfont={"color": MUTED, "size": 12},
        marker={"size": 9, "color": PALETTE[0]},
        error_y=_bars([_accuracy(row) for row in sent]),
        customdata=[text.data_size(row.upload_bytes or 0) for row in sent],
        hovertemplate="%{text}<br>%{customdata}, accuracy %{y:.3f}<extra></extra>",
    )
    ticks = _size_ticks([row.upload_bytes or 0 for row in sent])
    ends = [math.log10(ticks[0]), math.log10(ticks[-1])]
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[_round_size(tick) for tick in ticks], range=ends)
    figure.update_layout(showlegend=False)
    spoken = "; ".join(
        f"{row.arm} {text.data_size(row.upload_bytes or 0)}, {text.number(row.accuracy)}" for row in sent
    )
    return finished_chart("upload", "Accuracy against upload.", f"Dot chart. {spoken}.", 380, figure)


def _round_size(size: float) -> str:
    """A size without decimals: 10 kB."""
    return re.sub(r"\.0+(?=\D)", "", text.data_size(size))


def _size_ticks(sizes: Sequence[float]) -> list[float]:
    """1, 2, 5, 10, … bytes around all sizes; powers of ten alone where these are far apart."""
    low, high = min(sizes) / 2, max(sizes) * 2
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < FAR else (1,)
    ticks = [float(step * 10**power) for power in powers for step in steps]
    first = max((tick for tick in ticks if tick <= low), default=ticks[0])
    last = min((tick for tick in ticks if tick >= high), default=ticks[-1])
    return [tick for tick in ticks if first <= tick <= last]


def _label_places(rows: Sequence[Row]) -> list[str]:
    """Where the names of dots stand: those of neighbours on different sides, so that both can be read."""
    near = NEAR * (max(row.high for row in rows) - min(row.low for row in rows))
    places, before, turn = [PLACES[0]] * len(rows), None, 0
    for index in sorted(range(len(rows)), key=lambda index: rows[index].accuracy):
        close = before is not None and rows[index].accuracy - rows[before].accuracy < near
        turn = turn + 1 if close else 0
        places[index], before = PLACES[turn % len(PLACES)], index
    return places


def comparison_pictures(found: Comparison) -> dict[str, bytes]:
    """The accuracies as PNG and SVG."""
    return stills({"accuracy": partial(_still, found)})


def _dots(name: str, title: str, rows: Sequence[Row], ends: Callable[[Row], Ends], caption: str) -> Chart:
    figure = blank_figure(title, "")
    lines = list(range(len(rows)))
    filled = [name == "accuracy" or row.significant for row in rows]
    triples = [ends(row) for row in rows]
    bars = _bars(triples)
    figure.add_scatter(
        x=[middle for _, middle, _ in triples],
        y=lines,
        mode="markers",
        marker={
            "size": 10,
            "symbol": ["circle" if full else "circle-open" for full in filled],
            "color": PALETTE[0],
            "line": {"width": 2, "color": PALETTE[0]},
        },
        error_x=bars,
        customdata=[
            f"{plain(text.cut(row.arm))}: {text.interval(low, high)}"
            for row, (low, _, high) in zip(rows, triples, strict=True)
        ],
        hovertemplate="%{customdata}, mean %{x:.3f}<extra></extra>",
    )
    if name == "difference":
        figure.add_vline(x=0, line={"color": INK, "width": 1, "dash": "3px,3px"})
    figure.update_yaxes(
        tickvals=lines,
        ticktext=[plain(text.cut(row.arm)) for row in rows],
        range=[len(rows) - 0.5, -0.5],
        showgrid=False,
        ticks="",
    )
    figure.update_layout(showlegend=False, margin={"t": 8})
    spoken = "; ".join(
        f"{row.arm} {text.number(each[1])} ({text.interval(each[0], each[2])})"
        for row, each in zip(rows, triples, strict=True)
    )
    return finished_chart(name, caption, f"Dot chart. {spoken}.", 90 + 34 * len(rows), figure)


def _bars(triples: Sequence[Ends]) -> dict[str, object]:
    return {
        "type": "data",
        "array": [high - middle for _, middle, high in triples],
        "arrayminus": [middle - low for low, middle, _ in triples],
        "color": PALETTE[0],
        "thickness": 1.5,
        "width": 4,
    }


def _accuracy(row: Row) -> Ends:
    return row.low, row.accuracy, row.high


def _difference(row: Row) -> Ends:
    return row.difference_low, row.difference, row.difference_high


def _still(found: Comparison) -> Figure | None:
    rows = found.rows
    figure, axes = blank_axes(4.8, 0.9 + 0.26 * len(rows))
    for line, row in enumerate(rows):
        axes.plot([row.low, row.high], [line, line], color=COLOURS[0], linewidth=1.2)
        axes.plot([row.accuracy], [line], "o", color=COLOURS[0], markersize=5)
    default = next((row for row in rows if row.arm == DEFAULT), None)
    if default is not None:
        axes.axvline(default.accuracy, color=GREY, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(rows)), [text.cut(row.arm) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("test accuracy, 95 % interval (default dotted)")
    return figure
