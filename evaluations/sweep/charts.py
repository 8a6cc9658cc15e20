"""The interactive charts of a sweep."""

from collections.abc import Sequence

import plotly.graph_objects as go

from evaluations.report import formatting as text
from evaluations.report.charts import INK, MUTED, PALETTE, blank_figure, finished_chart, plain
from evaluations.report.elements import Chart
from evaluations.spread import Spread
from evaluations.sweep.frontier import lines_of
from evaluations.sweep.grid import value_text, values_text
from evaluations.sweep.results import Point, Sweep
from evaluations.sweep.series import (
    EPSILON,
    Scale,
    axis_scale,
    epsilon_scale,
    has_epsilons,
    leak_kinds,
    leaking,
    series_along,
)


def frontier_chart(found: Sweep) -> Chart | None:
    """Accuracy against ε with the frontier; None where ε does not differ."""
    if not has_epsilons(found):
        return None
    figure = blank_figure("ε spent (largest of all clients)", "accuracy")
    _add_baseline(figure, found, epsilon_scale(found.points, found.points))
    for index, series in enumerate(series_along(found.points, EPSILON)):
        scale = epsilon_scale(series.points, found.points)
        _add_points(
            figure, series.points, scale, colour=_colour(index), name=text.cut(series.name) or "mean over seeds"
        )
    for number, line in enumerate(lines_of(found.points)):
        figure.add_scatter(
            x=epsilon_scale(line, found.points).positions,
            y=[point.accuracy.mean for point in line],
            name="frontier",
            showlegend=number == 0,
            mode="lines",
            line={"color": INK, "width": 1.5, "dash": "4px,3px", "shape": "hv"},
            hoverinfo="skip",
        )
    front = [point for point in found.points if point.frontier]
    _label_ticks(figure, epsilon_scale(found.points, found.points))
    spoken = "; ".join(f"ε = {text.number(p.epsilon, digits=2)}: {_spoken(p.accuracy)}" for p in front)
    caption = (
        "Test accuracy against the largest ε that a client spent in a cell, on a logarithmic scale. Dots: means over "
        "seeds; bars: 95 % intervals (Student’s t); dashes: the frontier, which no other point beats in both "
        "(one for each δ and privacy unit)."
    )
    return finished_chart("frontier", caption, f"Accuracy against ε. The frontier: {spoken}.", 420, figure)


def axis_charts(found: Sweep) -> tuple[Chart, ...]:
    """Accuracy along every axis but ε, a line for each combination of the others."""
    charts = []
    for number, (key, values) in enumerate(found.axes.items(), start=1):
        if key == EPSILON or len(values) < 2:
            continue
        figure = blank_figure(plain(key), "accuracy")
        for index, series in enumerate(series_along(found.points, key)):
            ordered = sorted(series.points, key=lambda point: axis_scale([point], values, key).positions)
            scale = axis_scale(ordered, values, key)
            _add_points(figure, ordered, scale, colour=_colour(index), name=text.cut(series.name) or "mean over seeds")
        _label_ticks(figure, axis_scale(found.points, values, key))
        spoken = "; ".join(f"{values_text(p.values)}: {_spoken(p.accuracy)}" for p in found.points)
        caption = f"Test accuracy by {key}: means over seeds with 95 % intervals."
        charts.append(finished_chart(f"axis-{number}", caption, f"{caption} {spoken}.", 340, figure))
    return tuple(charts)


def leak_charts(found: Sweep) -> tuple[Chart, ...]:
    """Accuracy against what each attack got, with the frontier of these two."""
    charts = []
    for number, kind in enumerate(leak_kinds(found), start=1):
        pairs = leaking(found, kind)
        figure = blank_figure(plain(" ".join(kind)), "accuracy")
        for front, symbol, name in ((True, "circle", "on the frontier"), (False, "circle-open", "beaten")):
            shown = [(point, leak) for point, leak in pairs if leak.frontier is front]
            figure.add_scatter(
                x=[leak.value.mean for _, leak in shown],
                y=[point.accuracy.mean for point, _ in shown],
                name=name,
                mode="markers+text",
                text=[plain(text.cut(", ".join(map(value_text, point.values.values())))) for point, _ in shown],
                textposition="top right",
                textfont={"color": MUTED, "size": 12},
                marker={"size": 10, "symbol": symbol, "color": PALETTE[0], "line": {"width": 2, "color": PALETTE[0]}},
                error_x=_bars([leak.value for _, leak in shown], PALETTE[0]),
                error_y=_bars([point.accuracy for point, _ in shown], PALETTE[0]),
                customdata=[plain(values_text(point.values)) for point, _ in shown],
                hovertemplate="%{customdata}<br>leak %{x:.3f}, accuracy %{y:.3f}<extra></extra>",
            )
        nulls = [leak.null for _, leak in pairs if leak.null is not None]
        if nulls:
            figure.add_vline(x=sum(nulls) / len(nulls), line={"color": MUTED, "width": 1.5, "dash": "3px,3px"})
        figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
        spoken = "; ".join(
            f"{values_text(p.values)}: {_spoken(k.value)}, accuracy {_spoken(p.accuracy)}" for p, k in pairs
        )
        charts.append(finished_chart(f"leak-{number}", f"{kind[0]}: {kind[1]}", f"Dot chart. {spoken}.", 320, figure))
    return tuple(charts)


def _add_points(figure: go.Figure, points: Sequence[Point], scale: Scale, *, colour: str, name: str) -> None:
    figure.add_scatter(
        x=scale.positions,
        y=[point.accuracy.mean for point in points],
        name=plain(name),
        mode="lines+markers",
        marker={"size": 9, "color": colour},
        line={"color": colour, "width": 1.5},
        error_y=_bars([point.accuracy for point in points], colour),
        customdata=[
            [plain(values_text(point.values)), text.number(point.epsilon, digits=2), _spoken(point.accuracy)]
            for point in points
        ],
        hovertemplate="%{customdata[0]}<br>ε = %{customdata[1]}<br>accuracy %{customdata[2]}<extra></extra>",
    )
    seeds = [(place, value) for place, point in zip(scale.positions, points, strict=True) for value in point.by_seed]
    if len(seeds) > len(points):
        figure.add_scatter(
            x=[place for place, _ in seeds],
            y=[value for _, value in seeds],
            mode="markers",
            marker={"size": 5, "color": colour, "opacity": 0.45},
            showlegend=False,
            hovertemplate="one seed: %{y:.3f}<extra></extra>",
        )


def _add_baseline(figure: go.Figure, found: Sweep, scale: Scale) -> None:
    figure.add_scatter(
        x=[min(scale.positions), max(scale.positions)],
        y=[max(point.majority_baseline for point in found.points)] * 2,
        name="majority baseline",
        mode="lines",
        line={"color": MUTED, "width": 1.5, "dash": "2px,3px"},
        hovertemplate="majority baseline %{y:.3f}<extra></extra>",
    )


def _bars(spreads: Sequence[Spread], colour: str) -> dict[str, object]:
    return {
        "type": "data",
        "array": [s.half_width or 0.0 for s in spreads],
        "color": colour,
        "thickness": 1.5,
        "width": 5,
    }


def _label_ticks(figure: go.Figure, scale: Scale) -> None:
    figure.update_xaxes(tickvals=[place for place, _ in scale.ticks], ticktext=[plain(name) for _, name in scale.ticks])
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})


def _colour(index: int) -> str:
    return PALETTE[index] if index < len(PALETTE) else MUTED


def _spoken(found: Spread) -> str:
    ends = "" if found.low is None else f" ({text.interval(found.low, found.high)})"
    return f"{text.number(found.mean)}{ends}"
