"""The dot-and-interval charts of the attacks: one for each attack and metric, a line for each row of its table."""

import plotly.graph_objects as go

from evaluations.report import formatting as text
from evaluations.report.charts import INK, PALETTE, blank_figure, finished_chart, name_line, plain
from evaluations.report.elements import Chart
from evaluations.report.verdicts import VIEW_NAMES, grouped
from fedpeft_secure.result import AttackRow


def attack_charts(rows: tuple[AttackRow, ...]) -> tuple[Chart, ...]:
    """One dot-and-interval chart for each attack and metric, with the four views in the same order."""
    return tuple(
        _attack_chart(f"attack-{index}", attack, metric, group)
        for index, ((attack, metric), group) in enumerate(grouped(rows).items(), start=1)
    )


def _attack_chart(name: str, attack: str, metric: str, rows: list[AttackRow]) -> Chart:
    figure = blank_figure(plain(metric), "")
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
        name_line(figure, line, _line_name(row))
    ends = [end for row in rows for end in (row.value, row.low, row.high, row.null) if end is not None]
    if min(ends) >= 0 and 0.25 <= max(ends) <= 1:
        figure.update_xaxes(range=[-0.04, 1.04], tickvals=[0, 0.25, 0.5, 0.75, 1])
    else:
        figure.update_xaxes(rangemode="tozero", nticks=5)
    figure.update_yaxes(range=[len(rows) - 0.6, -0.9], showgrid=False, showticklabels=False, ticks="")
    figure.update_layout(showlegend=False, margin={"t": 4})
    spoken = "; ".join(
        f"{_line_name(row)} {text.number(row.value)}, interval {text.interval(row.low, row.high)}, "
        f"null control {text.number(row.null)}"
        for row in rows
    )
    return finished_chart(name, f"{attack}: {metric}", f"Dot chart. {spoken}.", 64 + 50 * len(rows), figure)


def _line_name(row: AttackRow) -> str:
    return f"{VIEW_NAMES[row.view]} (replay)" if row.replay else VIEW_NAMES[row.view]


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
