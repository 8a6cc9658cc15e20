"""The interactive charts, as plotly figures whose colours are names of the page's CSS custom properties."""

import html
import math
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from evaluations.report import formatting as text
from evaluations.report.reading import Run
from evaluations.report.verdicts import VIEW_NAMES, Trajectory, grouped, trajectories
from evaluations.report.wording import OVERLAPPING_PHASE
from fedpeft_secure.result import AttackRow, Compute

PALETTE = tuple(f"var(--series-{index})" for index in range(1, 7))
MOST_LINES = 12
INK, MUTED, RULE = "var(--ink)", "var(--muted)", "var(--rule)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """One chart: its element's id, its caption, its words for a screen reader, and plotly's JSON."""

    name: str
    caption: str
    label: str
    height: int
    figure: dict[str, Any]


def accuracy_chart(run: Run) -> Chart | None:
    """Validation accuracy by round, with the test accuracy and the majority baseline; None if never measured."""
    points = [(record.round, record.accuracy) for record in run.rounds if record.accuracy is not None]
    if not points:
        return None
    utility = run.result.utility
    rounds, values = [index for index, _ in points], [value for _, value in points]
    figure = _figure("round", "accuracy")
    figure.add_scatter(
        x=rounds,
        y=values,
        name="validation",
        mode="lines+markers",
        marker={"size": 6},
        line={"color": PALETTE[0], "width": 2},
        hovertemplate="round %{x}<br>validation %{y:.3f}<extra></extra>",
    )
    figure.add_scatter(
        x=[rounds[0], rounds[-1]],
        y=[utility.majority_baseline] * 2,
        name="majority baseline",
        mode="lines",
        line={"color": MUTED, "width": 1.5, "dash": "3px,3px"},
        hovertemplate="majority baseline %{y:.3f}<extra></extra>",
    )
    figure.add_scatter(
        x=[rounds[-1]],
        y=[utility.accuracy],
        name="test, read once",
        mode="markers",
        marker={"color": PALETTE[1], "size": 11, "symbol": "diamond"},
        hovertemplate="test %{y:.3f}<extra></extra>",
    )
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    caption = "Accuracy by round on the public validation split; the test split is read once, at the end."
    label = (
        f"Line chart. Validation accuracy goes from {text.number(values[0])} in round {rounds[0]} to "
        f"{text.number(values[-1])} in round {rounds[-1]}; test accuracy {text.number(utility.accuracy)}, "
        f"majority baseline {text.number(utility.majority_baseline)}."
    )
    return _chart("accuracy", caption, label, 320, figure)


def loss_chart(run: Run) -> Chart | None:
    """Validation loss by round; None if never measured."""
    points = [(record.round, record.loss) for record in run.rounds if record.loss is not None]
    if not points:
        return None
    figure = _figure("round", "mean loss (nats)")
    figure.add_scatter(
        x=[index for index, _ in points],
        y=[value for _, value in points],
        name="validation",
        mode="lines+markers",
        marker={"size": 6},
        line={"color": PALETTE[0], "width": 2},
        showlegend=False,
        hovertemplate="round %{x}<br>loss %{y:.3f}<extra></extra>",
    )
    label = f"Line chart. Validation loss goes from {text.number(points[0][1])} to {text.number(points[-1][1])}."
    return _chart("loss", "Mean loss by round on the validation split.", label, 320, figure)


def privacy_chart(run: Run) -> Chart | None:
    """ε spent by client and round against its budget; None without any finite ε."""
    every = trajectories(run.rounds, run.result.privacy)
    found = every[:MOST_LINES]
    if not found:
        return None
    figure = _figure("round", "ε spent")
    for index, trajectory in enumerate(found):
        _add_trajectory(figure, trajectory, PALETTE[index] if index < len(PALETTE) else MUTED)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    spoken = "; ".join(
        f"{item.label}: {text.number(item.points[-1][1], digits=2)} of {text.shortest(item.budget)}" for item in found
    )
    caption = (
        "Privacy spent by each client after each round (solid) against its budget (dashed). "
        "Clients with the same budget and history share a line."
    )
    if len(every) > len(found):
        caption += f" Shown: the {len(found)} largest of {len(every)}; the table has all."
    return _chart("privacy", caption, f"Line chart of ε spent by round. At the end: {spoken}.", 320, figure)


def phases_chart(compute: Compute) -> Chart | None:
    """Seconds per phase as bars, longest on top; None if nothing was timed."""
    phases = sorted((s, name) for name, s in compute.seconds.items() if name != OVERLAPPING_PHASE)
    if not phases:
        return None
    times, names = [seconds for seconds, _ in phases], [name for _, name in phases]
    words = [text.duration(seconds) for seconds in times]
    figure = _figure("seconds", "")
    figure.add_bar(
        x=times,
        y=[plain(name) for name in names],
        orientation="h",
        text=words,
        textposition="outside",
        cliponaxis=False,
        marker={"color": PALETTE[0]},
        width=0.6,
        customdata=words,
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )
    figure.update_xaxes(rangemode="tozero", range=[0, max(times) * 1.18 or 1])
    figure.update_yaxes(type="category", showgrid=False, ticks="")
    spoken = "; ".join(f"{name} {word}" for name, word in reversed(list(zip(names, words, strict=True))))
    return _chart("phases", "Time per phase.", f"Bar chart. {spoken}.", 90 + 34 * len(phases), figure)


def attack_charts(rows: tuple[AttackRow, ...]) -> tuple[Chart, ...]:
    """One dot-and-interval chart for each attack and metric, with the four views in the same order."""
    return tuple(
        _attack_chart(f"attack-{index}", attack, metric, group)
        for index, ((attack, metric), group) in enumerate(grouped(rows).items(), start=1)
    )


def plain(value: str) -> str:
    """Text that plotly shows as it is: its labels understand a few HTML tags, links among them."""
    return html.escape(value, quote=False)


def _attack_chart(name: str, attack: str, metric: str, rows: list[AttackRow]) -> Chart:
    figure = _figure(plain(metric), "")
    numbered = list(enumerate(rows))
    for replay, title, symbol in ((False, "this run", "circle"), (True, "replay", "circle-open")):
        _add_dots(figure, [(line, row) for line, row in numbered if row.replay is replay], title, symbol)
    controls = [(line, row.null) for line, row in numbered if row.null is not None]
    figure.add_scatter(
        x=[null for _, null in controls],
        y=[line for line, _ in controls],
        mode="markers",
        marker={"symbol": "line-ns", "size": 13, "line": {"width": 2, "color": INK}},
        hovertemplate="null control %{x:.3f}<extra></extra>",
    )
    for line, row in numbered:
        figure.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=line,
            yshift=17,
            text=_line_name(row),
            showarrow=False,
            font={"size": 12, "color": MUTED},
            bgcolor="var(--paper)",
            borderpad=1,
        )
    ends = [end for row in rows for end in (row.value, row.low, row.high, row.null) if end is not None]
    if min(ends) >= 0 and max(ends) <= 1:
        figure.update_xaxes(range=[-0.04, 1.04], tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_yaxes(range=[len(rows) - 0.6, -0.9], showgrid=False, showticklabels=False, ticks="")
    figure.update_layout(showlegend=False, margin={"t": 4})
    spoken = "; ".join(
        f"{_line_name(row)} {text.number(row.value)}, interval {text.interval(row.low, row.high)}, "
        f"null control {text.number(row.null)}"
        for row in rows
    )
    return _chart(name, f"{attack}: {metric}", f"Dot chart. {spoken}.", 64 + 50 * len(rows), figure)


def _line_name(row: AttackRow) -> str:
    return f"{VIEW_NAMES[row.view]} (replay)" if row.replay else VIEW_NAMES[row.view]


def _add_trajectory(figure: go.Figure, trajectory: Trajectory, colour: str) -> None:
    rounds = [index for index, _ in trajectory.points]
    group, name = plain(", ".join(trajectory.clients)), plain(trajectory.label)
    figure.add_scatter(
        x=rounds,
        y=[epsilon for _, epsilon in trajectory.points],
        name=name,
        legendgroup=group,
        mode="lines+markers",
        marker={"size": 5},
        line={"color": colour, "width": 2},
        hovertemplate=f"{name}<br>round %{{x}}: ε = %{{y:.2f}}<extra></extra>",
    )
    if math.isinf(trajectory.budget):
        return
    figure.add_scatter(
        x=[rounds[0], rounds[-1]],
        y=[trajectory.budget] * 2,
        name=f"budget of {name}",
        legendgroup=group,
        showlegend=False,
        mode="lines",
        line={"color": colour, "width": 1.5, "dash": "3px,3px"},
        hovertemplate=f"budget of {name}: %{{y:g}}<extra></extra>",
    )


def _add_dots(figure: go.Figure, numbered: list[tuple[int, AttackRow]], title: str, symbol: str) -> None:
    values = [row.value or 0.0 for _, row in numbered]
    spans = [
        (value, value) if row.low is None or row.high is None else (row.low, row.high)
        for value, (_, row) in zip(values, numbered, strict=True)
    ]
    figure.add_scatter(
        x=values,
        y=[line for line, _ in numbered],
        mode="markers",
        marker={"symbol": symbol, "size": 10, "color": PALETTE[0], "line": {"width": 2, "color": PALETTE[0]}},
        error_x={
            "type": "data",
            "array": [high - value for value, (_, high) in zip(values, spans, strict=True)],
            "arrayminus": [value - low for value, (low, _) in zip(values, spans, strict=True)],
            "color": PALETTE[0],
            "thickness": 2,
            "width": 0,
        },
        customdata=[text.interval(row.low, row.high) for _, row in numbered],
        hovertemplate=f"{title}<br>%{{x:.3f}} (%{{customdata}})<extra></extra>",
    )


def _figure(x_title: str, y_title: str) -> go.Figure:
    axis = {
        "gridcolor": RULE,
        "linecolor": RULE,
        "tickcolor": RULE,
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "ticklen": 4,
    }
    return go.Figure(
        layout={
            "template": go.layout.Template(),
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"color": INK, "size": 13},
            "margin": {"l": 8, "r": 16, "t": 36, "b": 8},
            "hoverlabel": {"bgcolor": "var(--panel)", "bordercolor": RULE, "font": {"color": INK}},
            "xaxis": {"title": {"text": x_title, "standoff": 10}, **axis},
            "yaxis": {"title": {"text": y_title, "standoff": 10}, **axis},
            "legend": {"itemsizing": "constant"},
        }
    )


def _chart(name: str, caption: str, label: str, height: int, figure: go.Figure) -> Chart:
    figure.update_layout(height=height)
    return Chart(name=name, caption=caption, label=label, height=height, figure=figure.to_plotly_json())
