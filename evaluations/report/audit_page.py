"""The page of an audit: what canaries prove about ε, beside what the ledger says."""

import math
from pathlib import Path

from attacks.audit import AuditResult
from attacks.audit.result import AuditBound
from evaluations.report import formatting as text
from evaluations.report.charts import INK, PALETTE, blank_figure, finished_chart, name_line, plain
from evaluations.report.elements import (
    Answer,
    Cell,
    Chart,
    Document,
    Facts,
    Meanings,
    Notice,
    Pair,
    Prose,
    Section,
    Source,
    Table,
    number_cell,
    sort_key,
)
from evaluations.report.rendering import render_document
from evaluations.report.writing import write_page
from fedpeft_secure.doctor import versions

MEANINGS = (
    ("Upper and lower bound", "The ledger’s ε is a promise with a proof: nobody can do better, if the code does what "
     "was charged for. The lower bound is what canaries proved against these very messages. A lower bound above the "
     "upper one means that the code does something else. Both are of the same privacy unit and the same releases."),
    ("A lower bound far below", "It says little. The mechanism may be better than its promise, or these canaries too "
     "few or too weak to show more. An audit that passes is no proof: it found nothing wrong."),
    ("Clopper–Pearson", "From the rates of right and wrong guesses at thresholds that were fixed beforehand, corrected "
     "for how many there are. Assumes that canaries do not influence each other under the claimed mechanism."),
    ("One run", "From the number of right guesses among all canaries of a single run (Steinke and others 2023), or "
     "with the trade-off curve of the claimed mechanism (Mahloujifar and others 2024). The first collapses where "
     "canaries × δ is large."),
    ("GDP estimate", "What a Gaussian mechanism would need for these rates. Descriptive: it bounds nothing, may lie "
     "above the true ε, and never fails a run."),
    ("α", "The chance that an honest mechanism fails the audit, all bounds and all their thresholds together."),
    ("Replay of the steps", "Steps that were really taken, counted at the client’s own sampler and noise, beside those "
     "that the ledger was charged for. A step that nobody charged for is a leak that no ε covers."),
    ("AUC of the canaries", "The chance that a canary that was in scores above one that was not: 0.5 is guessing. A "
     "canary is the worst case that the promise covers, far easier to find than any text."),
)  # fmt: skip


def write_audit_page(out: Path, result: AuditResult) -> Path:
    """Writes `report.html` into an audit's directory, beside `audit.json` and `config.toml`."""
    config = (out / "config.toml").read_text("utf-8")
    return write_page(out, render_document(audit_document(result, config, origin=out.resolve().name)), {})


def audit_document(result: AuditResult, config: str, *, origin: str) -> Document:
    """Decides everything that the page shows."""
    return Document(
        eyebrow="Privacy audit",
        title=f"ε for one {result.unit},",
        subtitle="promised and proved",
        lead=f"{result.canaries:,} canaries, {result.included:,} of them in: "
        f"{result.audited}. Seed {result.seed}, {text.duration(result.seconds)}.",
        notices=_notices(result),
        answers=_answers(result),
        sections=(
            Section(name="bounds", title="Bounds on ε", link="Bounds", blocks=(_chart(result), _table(result))),
            Section(
                name="replay",
                title="What was replayed and planted",
                link="Replay",
                blocks=(Pair(blocks=(_steps(result), _canaries(result))),),
            ),
            Section(
                name="meaning",
                title="What these numbers mean, and what they do not",
                link="What the numbers mean",
                blocks=(Meanings(entries=MEANINGS),),
            ),
            Section(
                name="setup",
                title="Setup",
                link="Setup",
                blocks=(
                    Prose(paragraphs=("The audited configuration; audit.json beside this page holds all numbers.",)),
                    Source(label="Configuration", text=config),
                ),
            ),
        ),
        origin=origin,
        version=versions()["fedpeft-secure"],
    )


def _notices(result: AuditResult) -> tuple[Notice, ...]:
    found = [Notice(title="The audit failed", body=problem, tone="bad") for problem in result.problems]
    if result.noise == "simulation":
        found.append(
            Notice(
                title="Simulation: the noise came from a seed",
                body="Whoever knows the seed can subtract the noise. The canaries’ scores do not use it: read the "
                "bounds as those of the same run with noise from the operating system’s generator.",
                tone="warn",
            )
        )
    return tuple(found)


def _answers(result: AuditResult) -> tuple[Answer, ...]:
    pair = f"δ{text.NO_BREAK}={text.NO_BREAK}{text.power_of_ten(result.delta)}"
    best = max((bound for bound in result.bounds if bound.may_fail), key=lambda bound: bound.epsilon)
    proof = f"By {best.method}" if best.epsilon > 0 else "No method proves any ε above 0"
    return (
        Answer(
            question="What the ledger promises",
            value=f"ε{text.NO_BREAK}≤{text.NO_BREAK}{text.number(result.epsilon_upper, digits=2)}",
            unit="",
            lines=(
                f"{pair}; unit: one {result.unit}; {text.relation_name(result.relation)}; {result.accountant}",
                f"Budget ε{text.NO_BREAK}={text.NO_BREAK}{text.shortest(result.epsilon_budget)}",
            ),
        ),
        Answer(
            question="What canaries prove",
            value=f"ε{text.NO_BREAK}≥{text.NO_BREAK}{text.number(result.epsilon_lower, digits=2)}",
            unit="",
            lines=(proof, f"Joint α{text.NO_BREAK}={text.NO_BREAK}{text.shortest(result.alpha)}; same unit and δ"),
            tone="bad" if result.epsilon_lower > result.epsilon_upper else "plain",
        ),
        Answer(
            question="Steps charged for",
            value=f"{_count(result.steps.taken)} of {result.steps.charged:,}",
            unit="",
            lines=("Taken of charged, by watching the client",),
            tone="bad" if result.steps.taken > result.steps.charged else "plain",
        ),
        Answer(
            question="Verdict",
            value="Nothing found" if result.passed else "Failed",
            unit="",
            lines=(
                ("Nothing contradicts the ledger; that is no proof that all is right",)
                if result.passed
                else result.problems[:1]
            ),
            tone="plain" if result.passed else "bad",
        ),
    )


def _chart(result: AuditResult) -> Chart:
    figure = blank_figure("ε", "")
    figure.add_scatter(
        x=[result.epsilon_upper] * 2,
        y=[-0.6, len(result.bounds) - 0.4],
        mode="lines",
        line={"color": INK, "width": 2, "dash": "4px,3px"},
        name="ledger, upper bound",
        hovertemplate="ledger: ε ≤ %{x:.3f}<extra></extra>",
    )
    for name, symbol, may_fail, sign in (
        ("lower bound, may fail a run", "circle", True, "≥"),
        ("estimate, bounds nothing", "circle-open", False, "≈"),
    ):
        lines = [
            (line, bound)
            for line, bound in enumerate(result.bounds)
            if bound.may_fail is may_fail and math.isfinite(bound.epsilon)
        ]
        figure.add_scatter(
            x=[bound.epsilon for _, bound in lines],
            y=[line for line, _ in lines],
            mode="markers",
            name=name,
            marker={"symbol": symbol, "size": 11, "color": PALETTE[0], "line": {"width": 2, "color": PALETTE[0]}},
            hovertemplate=f"ε {sign} %{{x:.3f}}<extra>{name}</extra>",
        )
    for line, bound in enumerate(result.bounds):
        name_line(figure, line, plain(bound.method))
    every = (result.epsilon_upper, *(bound.epsilon for bound in result.bounds))
    widest = max(value for value in every if math.isfinite(value))
    figure.update_xaxes(range=[-0.03 * widest, 1.06 * widest], nticks=6)
    figure.update_yaxes(range=[len(result.bounds) - 0.6, -0.9], showgrid=False, showticklabels=False, ticks="")
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, margin={"t": 4})
    spoken = "; ".join(f"{bound.method} {text.number(bound.epsilon)}" for bound in result.bounds)
    label = f"Dot chart of ε. Ledger, upper bound: {text.number(result.epsilon_upper)}. {spoken}."
    caption = "What each method proves (filled) or estimates (hollow) beside the upper bound of the ledger (dashed)."
    return finished_chart("bounds", caption, label, 120 + 48 * len(result.bounds), figure)


def _table(result: AuditResult) -> Table:
    ledger = (
        Cell(text="Ledger"),
        Cell(text=f"≤ {text.number(result.epsilon_upper)}", value=sort_key(result.epsilon_upper)),
        Cell(text=text.ABSENT, value=""),
        Cell(text="upper bound"),
        Cell(text=f"By the {result.accountant} accountant, of the audited releases"),
    )
    return Table(
        name="bound-rows",
        caption=f"Every bound on ε for one {result.unit} at δ = {text.power_of_ten(result.delta)}.",
        columns=("Method", "ε", "Share of α", "Role", "What follows"),
        rows=(ledger, *(_bound_row(bound, result.epsilon_upper) for bound in result.bounds)),
    )


def _bound_row(bound: AuditBound, upper: float) -> tuple[Cell, ...]:
    above = bound.may_fail and bound.epsilon > upper
    sign = "≥" if bound.may_fail else "≈"
    follows = (
        "Contradicts the ledger"
        if above
        else "Fails the audit if above the ledger"
        if bound.may_fail
        else "Descriptive, may lie above the ledger by chance"
    )
    return (
        Cell(text=bound.method),
        Cell(
            text=f"{sign} {text.number(bound.epsilon)}",
            value=sort_key(bound.epsilon),
            tone="bad" if above else "plain" if bound.may_fail else "muted",
        ),
        number_cell(bound.alpha, digits=5),
        Cell(text="lower bound" if bound.may_fail else "estimate"),
        Cell(text=follows, tone="bad" if above else "plain"),
    )


def _steps(result: AuditResult) -> Facts:
    taken, charged = result.steps.taken, result.steps.charged
    same = "agrees" if abs(taken - charged) < 0.5 else "DIFFERS"
    return Facts(
        title="The steps",
        pairs=(
            ("Taken", _count(taken)),
            ("Charged", f"{charged:,} ({same})"),
            ("Noise multiplier", text.significant(result.noise_multiplier)),
            ("Sample rate", text.shortest(result.sample_rate)),
            ("Noise", result.noise),
        ),
    )


def _canaries(result: AuditResult) -> Facts:
    found = result.separation
    return Facts(
        title="The canaries",
        pairs=(
            ("Planted", f"{result.canaries:,}, coins tossed once"),
            ("In", f"{result.included:,}"),
            ("AUC", f"{text.number(found.auc)} ({text.interval(found.low, found.high)})"),
            ("AUC, nothing there", text.number(found.null)),
        ),
    )


def _count(value: float) -> str:
    return text.number(value, digits=0 if float(value).is_integer() else 2)
