"""The interactive charts, as plotly figures whose colours are names of the page's CSS custom properties."""

import html
import math

import plotly.graph_objects as go

from evaluations.report import formatting as text
from evaluations.report.elements import Chart
from evaluations.report.reading import Run
from evaluations.report.verdicts import Trajectory, trajectories
from evaluations.report.wording import OVERLAPPING_PHASE, loss_caption
from fedpeft_secure.result import Compute

PALETTE = tuple(f"var(--series-{index})" for index in range(1, 7))
MOST_LINES = 12
MOST_TICKS = 10
INK, MUTED, RULE = "var(--ink)", "var(--muted)", "var(--rule)"


def accuracy_chart(run: Run) -> Chart | None:
    """Validation accuracy by round, with the test accuracy and the majority baseline; None if never measured."""
    points = [(record.round, record.accuracy) for record in run.rounds if record.accuracy is not None]
    if not points:
        return None
    utility = run.result.utility
    rounds, values = [index for index, _ in points], [value for _, value in points]
    figure = blank_figure("round", "accuracy")
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
    _whole_rounds(figure, rounds)
    caption = "Accuracy by round on the public validation split; the test split is read once, at the end."
    label = (
        f"Line chart. Validation accuracy goes from {text.number(values[0])} in round {rounds[0]} to "
        f"{text.number(values[-1])} in round {rounds[-1]}; test accuracy {text.number(utility.accuracy)}, "
        f"majority baseline {text.number(utility.majority_baseline)}."
    )
    return finished_chart("accuracy", caption, label, 320, figure)


def loss_chart(run: Run) -> Chart | None:
    """Validation loss by round; None if never measured."""
    points = [(record.round, record.loss) for record in run.rounds if record.loss is not None]
    if not points:
        return None
    figure = blank_figure("round", "mean loss (nats)")
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
    _whole_rounds(figure, [index for index, _ in points])
    label = f"Line chart. Validation loss goes from {text.number(points[0][1])} to {text.number(points[-1][1])}."
    return finished_chart("loss", loss_caption(run.rounds), label, 320, figure)


def privacy_chart(run: Run) -> Chart | None:
    """ε spent by client and round against its budget; None without any finite ε."""
    every = trajectories(run.rounds, run.result.privacy)
    found = every[:MOST_LINES]
    if not found:
        return None
    figure = blank_figure("round", "ε spent")
    for index, trajectory in enumerate(found):
        _add_trajectory(figure, trajectory, PALETTE[index] if index < len(PALETTE) else MUTED)
    _whole_rounds(figure, [index for trajectory in found for index, _ in trajectory.points])
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
    return finished_chart("privacy", caption, f"Line chart of ε spent by round. At the end: {spoken}.", 320, figure)


def phases_chart(compute: Compute) -> Chart | None:
    """Seconds per phase as bars, longest on top; None if nothing was timed."""
    phases = sorted((s, name) for name, s in compute.seconds.items() if name != OVERLAPPING_PHASE)
    if not phases:
        return None
    times, names = [seconds for seconds, _ in phases], [name for _, name in phases]
    words = [text.duration(seconds) for seconds in times]
    figure = blank_figure("seconds", "")
    figure.add_bar(
        x=times,
        y=[plain(name.replace("_", " ")) for name in names],
        orientation="h",
        text=words,
        textposition="auto",
        insidetextanchor="end",
        insidetextfont={"color": "var(--paper)"},
        textangle=0,
        marker={"color": PALETTE[0]},
        width=0.6,
        customdata=words,
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )
    figure.update_xaxes(rangemode="tozero", range=[0, max(times) * 1.04 or 1])
    figure.update_yaxes(type="category", showgrid=False, ticks="")
    spoken = "; ".join(f"{name} {word}" for name, word in reversed(list(zip(names, words, strict=True))))
    return finished_chart("phases", "Time per phase.", f"Bar chart. {spoken}.", 90 + 34 * len(phases), figure)


def _whole_rounds(figure: go.Figure, rounds: list[int]) -> None:
    """Names whole rounds only: there is nothing between them."""
    figure.update_xaxes(tickformat="d", dtick=max(1, math.ceil((max(rounds) - min(rounds)) / MOST_TICKS)), tick0=0)


def plain(value: str) -> str:
    """Text that plotly shows as it is: its labels understand a few HTML tags, links among them."""
    return html.escape(value, quote=False)


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


def name_line(figure: go.Figure, line: int, name: str) -> None:
    """Writes a name above a line of a dot chart, at its left end."""
    figure.add_annotation(
        x=0,
        xref="paper",
        xanchor="left",
        y=line,
        yshift=17,
        text=name,
        showarrow=False,
        font={"size": 12, "color": MUTED},
        bgcolor="var(--paper)",
        borderpad=1,
    )


def blank_figure(x_title: str, y_title: str) -> go.Figure:
    """An empty figure in the page's colours."""
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


def finished_chart(name: str, caption: str, label: str, height: int, figure: go.Figure) -> Chart:
    """Freezes a figure into what the page needs of it."""
    figure.update_layout(height=height)
    return Chart(name=name, caption=caption, label=label, height=height, figure=figure.to_plotly_json())
