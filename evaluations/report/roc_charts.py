"""Log-log ROC curves of the membership attacks, drawn from the counts that a result holds."""

import re
from collections.abc import Callable, Iterable
from functools import partial

from matplotlib.figure import Figure
from scipy.stats import nhypergeom

from attacks.membership import roc_figure
from attacks.membership.plots import FLOOR
from attacks.roc import RocCurve, curve_of
from evaluations.report import formatting as text
from evaluations.report.charts import MUTED, PALETTE, blank_figure, finished_chart
from evaluations.report.elements import Block, Cell, Chart, Multiples, Prose, Table, number_cell
from evaluations.report.verdicts import VIEW_NAMES, ordered
from fedpeft_secure.result import AttackRow, Estimate, RocRecord

WORDS = (
    "An attacker who may seldom be wrong looks at the left edge: the share of members that it names (true positive "
    "rate, TPR) while it wrongly names at most 1 % or 0.1 % of those who are none (false positive rate, FPR). An AUC "
    "near 0.5 can hide a few who are named with certainty. Guessing names a few as well: in 19 of 20 cases no more "
    "than stands behind ≤. A rate above that is marked; among many rows, one in twenty is by accident.",
    "With n non-members no false positive rate between 0 and 1/n was measured: there the rate at no false positive at "
    "all stands. The advantage, the largest TPR − FPR, is searched over all thresholds, so that chance alone lies "
    "above 0: read it beside its null control.",
)


def with_curves(rows: Iterable[AttackRow]) -> dict[str, list[tuple[AttackRow, RocRecord]]]:
    """The rows of each attack that hold a ROC curve, with defences added one at a time."""
    groups: dict[str, list[tuple[AttackRow, RocRecord]]] = {}
    for row in ordered(rows):
        if row.roc is not None:
            groups.setdefault(row.attack, []).append((row, row.roc))
    return groups


def roc_blocks(rows: Iterable[AttackRow]) -> tuple[Block, ...]:
    """What the curves mean, a chart for each attack, and the rates read off them; nothing without a curve."""
    groups = with_curves(rows)
    if not groups:
        return ()
    charts = tuple(_chart(f"roc-{index}", *group) for index, group in enumerate(groups.items(), start=1))
    caption = (
        "Who is named at how many false accusations, on logarithmic axes. Solid: this run; dotted: replay; dashed: "
        f"guessing. Rates below {FLOOR:.1%} are drawn at the edge."
    )
    lines = tuple(_line(attack, row, curve) for attack, group in groups.items() for row, curve in group)
    table = Table(
        name="roc-rows",
        caption="Rates read off the curves, with 95 % intervals (bootstrap, and for TPRs no less than Wilson’s), "
        "and in round brackets what guessing reaches.",
        columns=(
            "Attack", "View", "Source", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "Advantage", "Null control",
            "Members / others",
        ),
        rows=lines,
    )  # fmt: skip
    return (Prose(title="At few false accusations", paragraphs=WORDS), Multiples(charts=charts, caption=caption), table)


def roc_stills(rows: Iterable[AttackRow]) -> dict[str, Callable[[], Figure]]:
    """One picture for each attack, by a file name that is safe whatever the attack is called."""
    drawings: dict[str, Callable[[], Figure]] = {}
    for attack, group in with_curves(rows).items():
        plain = re.sub(r"[^a-z0-9]+", "-", attack.lower()).strip("-")[:40] or "attack"
        drawings[f"roc-{plain}"] = partial(roc_figure, {_name(row): _curve(record) for row, record in group})
    return drawings


def _chart(name: str, attack: str, group: list[tuple[AttackRow, RocRecord]]) -> Chart:
    figure = blank_figure("false positive rate", "true positive rate")
    figure.add_scatter(
        x=[FLOOR, 1],
        y=[FLOOR, 1],
        mode="lines",
        line={"color": MUTED, "width": 1.5, "dash": "5px,4px"},
        showlegend=False,
        hoverinfo="skip",
    )
    views = list(VIEW_NAMES)
    for row, record in group:
        curve = _curve(record)
        figure.add_scatter(
            x=curve.false_positive_rate.clip(min=FLOOR).tolist(),
            y=curve.true_positive_rate.clip(min=FLOOR).tolist(),
            name=_name(row),
            mode="lines",
            line={
                "color": PALETTE[views.index(row.view)],
                "width": 2,
                "shape": "hv",
                "dash": "2px,2px" if row.replay else "solid",
            },
            hovertemplate=f"{_name(row)}<br>TPR %{{y:.3f}} at FPR %{{x:.3f}}<extra></extra>",
        )
    ticks = {"type": "log", "range": [-3, 0.02], "tickvals": [0.001, 0.01, 0.1, 1]}
    named = {**ticks, "ticktext": ["0.1 %", "1 %", "10 %", "100 %"]}
    figure.update_xaxes(**named)
    figure.update_yaxes(**named)
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, margin={"t": 4})
    spoken = "; ".join(
        f"{_name(row)}: TPR {text.number(record.tpr_at_1_percent.value)} at 1 % FPR, "
        f"{text.number(record.tpr_at_01_percent.value)} at 0.1 %"
        for row, record in group
    )
    return finished_chart(name, attack, f"ROC curves on logarithmic axes. {spoken}.", 400, figure)


def _line(attack: str, row: AttackRow, record: RocRecord) -> tuple[Cell, ...]:
    return (
        Cell(text=attack),
        Cell(text=VIEW_NAMES[row.view]),
        Cell(text="replay" if row.replay else "this run", tone="muted" if row.replay else "plain"),
        _rate(record.tpr_at_1_percent, guessed_rate(record, at=0.01)),
        _rate(record.tpr_at_01_percent, guessed_rate(record, at=0.001)),
        number_cell(record.advantage.value, note=text.interval(record.advantage.low, record.advantage.high)),
        number_cell(record.advantage_null),
        Cell(text=f"{record.members} / {record.non_members}", value=record.members),
    )


def guessed_rate(record: RocRecord, *, at: float) -> float:
    """The true positive rate that scores without any meaning exceed in at most one of twenty cases.

    All orders of members and non-members are equally likely then, so that the members above the first non-member that
    is one too many are negative hypergeometric.

    Args:
        record: how many members and non-members there are.
        at: the false positive rate.
    """
    allowed = int(at * record.non_members)
    above = nhypergeom(record.members + record.non_members, record.members, allowed + 1)
    return float(above.ppf(0.95)) / record.members


def _rate(found: Estimate, guessed: float) -> Cell:
    note = f"{text.interval(found.low, found.high)} (≤ {text.number(guessed)})"
    return number_cell(found.value, note=note, tone="warn" if found.value > guessed else "plain")


def _name(row: AttackRow) -> str:
    return f"{VIEW_NAMES[row.view]} (replay)" if row.replay else VIEW_NAMES[row.view]


def _curve(record: RocRecord) -> RocCurve:
    return curve_of(record.true_positives, record.false_positives)
