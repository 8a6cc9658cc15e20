"""The report page of a sweep."""

import math
from pathlib import Path

from evaluations.report import Document, Section, render_document, write_page
from evaluations.report import formatting as text
from evaluations.report.elements import (
    Answer,
    Block,
    Cell,
    Facts,
    Folded,
    Listing,
    Meanings,
    Multiples,
    Notice,
    Pair,
    Prose,
    Source,
    Table,
    Tone,
    duration_cell,
    interval_cell,
    number_cell,
    size_cell,
    sort_key,
)
from evaluations.spread import Spread
from evaluations.sweep.charts import axis_charts, frontier_chart, leak_charts
from evaluations.sweep.frontier import leak_of
from evaluations.sweep.grid import value_text, values_text
from evaluations.sweep.pictures import pictures
from evaluations.sweep.results import Point, Step, Sweep
from evaluations.sweep.series import leak_kinds

MEANINGS = (
    ("A point’s ε", "The largest ε that a client spent in one training with these settings. It covers that training "
     "alone, with the δ, unit and neighbours of its own report; to look at several trainings and keep one is a use of "
     "all of them."),
    ("Mean and interval", "The mean of the test accuracy over seeds, and its 95 % interval by Student’s t with n − 1 "
     "degrees of freedom. It covers what the seed decides: the deal of the examples, sampling, noise, first values. "
     "All seeds share the test examples, whose choice it does not cover. With three seeds it is wide; that is honest."),
    ("Frontier", "The points that no other point beats in both respects, by their means. A point may be on it by luck: "
     "the steps below it say which differences the seeds carry."),
    ("A step is conclusive", "Seed by seed, the gain from one point of the frontier to the next has an interval above "
     "zero. Several steps are looked at, and no correction is made for that."),
    ("Leakage", "What an attack got in a training as it was run, without any defence switched off; where it saw "
     "several views, the worst. Its null control is the same attack where there is nothing to find. An attack that "
     "fails proves nothing: a better one may get more."),
)  # fmt: skip


def write_sweep_page(out: Path, found: Sweep, plan: str) -> Path:
    """Writes `report.html` and `plots/` into a sweep's directory.

    Args:
        out: the directory.
        found: what it holds.
        plan: the text of `sweep.toml`.
    """
    return write_page(out, render_document(sweep_document(found, plan, origin=out.resolve().name)), pictures(found))


def sweep_document(found: Sweep, plan: str, *, origin: str) -> Document:
    """Decides everything that the page shows."""
    trained = sum(len(point.seeds) for point in found.points)
    over = "; ".join(f"{key} over {', '.join(map(value_text, values))}" for key, values in found.axes.items())
    return Document(
        eyebrow="Privacy–utility sweep",
        title=found.model.rsplit("/", 1)[-1],
        subtitle=f"on {found.data.split(' (')[0]}",
        lead=f"{text.count(trained, 'training')}: {over}; {text.count(len(found.seeds), 'seed')} each.",
        notices=_notices(found),
        answers=_answers(found),
        sections=tuple(section for section in _sections(found, plan) if section.blocks),
        origin=origin,
        version=found.versions.get("fedpeft-secure", ""),
    )


def _notices(found: Sweep) -> tuple[Notice, ...]:
    titles = {
        "simulation": "Simulation: each ε covers its own cell",
        "one ledger": "One ledger",
        "not private": "NOT PRIVATE",
    }
    tones: dict[str, Tone] = {"simulation": "warn", "one ledger": "plain", "not private": "bad"}
    notices = [
        Notice(
            title=titles[found.privacy.kind],
            body=_without_title(found.privacy.statement),
            tone=tones[found.privacy.kind],
        )
    ]
    if found.failed:
        count = text.count(len(found.failed), "cell")
        body = "They are named under Missing cells, with the reason; the same command tries them again."
        notices.append(Notice(title=f"{count} failed", body=body, tone="bad"))
    open_steps = [step for step in found.steps if not step.conclusive]
    if open_steps:
        body = f"{'; '.join(map(_step_words, open_steps))}. More seeds narrow the intervals."
        notices.append(Notice(title="Not enough seeds to conclude", body=body, tone="warn"))
    return tuple(notices)


def _without_title(statement: str) -> str:
    body = statement.removeprefix("Simulation: ")
    return body[:1].upper() + body[1:]


def _answers(found: Sweep) -> tuple[Answer, ...]:
    private = [point for point in found.points if math.isfinite(point.epsilon)]
    open_points = [point for point in found.points if math.isinf(point.epsilon)]
    answers = []
    if private:
        answers.append(_point_answer("Most accurate with a finite ε", max(private, key=lambda p: p.accuracy.mean)))
        learned = [p for p in private if p.accuracy.low is not None and p.accuracy.low > p.majority_baseline]
        answers.append(_smallest(learned))
    if open_points:
        answers.append(_point_answer("Without privacy", max(open_points, key=lambda p: p.accuracy.mean)))
    cells = sum(len(point.seeds) for point in found.points)
    mean = text.duration(found.cell_seconds / cells)
    answers.append(
        Answer(
            question="What it took",
            value=text.duration(found.cell_seconds),
            unit="",
            lines=(f"Of training for {text.count(cells, 'cell')}, {mean} each", f"On {found.processor}"),
        )
    )
    return tuple(answers)


def _point_answer(question: str, point: Point) -> Answer:
    return Answer(
        question=question,
        value=text.number(point.accuracy.mean),
        unit="accuracy",
        lines=(f"{_epsilon_words(point)}: {values_text(point.values)}", _spread_words(point.accuracy)),
        tone="warn" if point.warnings else "plain",
    )


def _smallest(learned: list[Point]) -> Answer:
    question = "Smallest ε above guessing"
    if not learned:
        nothing = "No point’s interval lies above the majority baseline"
        return Answer(question=question, value="None", unit="", lines=(nothing,), tone="warn")
    point = min(learned, key=lambda each: each.epsilon)
    lines = (f"{values_text(point.values)}: accuracy {text.number(point.accuracy.mean)}", _spread_words(point.accuracy))
    return Answer(question=question, value=_epsilon_words(point), unit="", lines=lines)


def _sections(found: Sweep, plan: str) -> tuple[Section, ...]:
    frontier = frontier_chart(found)
    first: list[Block] = [frontier] if frontier is not None else []
    if found.steps:
        first.append(Listing(title="Along the frontier", items=tuple(map(_step_words, found.steps))))
    axes = axis_charts(found)
    if axes:
        first.append(Pair(blocks=axes) if len(axes) > 1 else axes[0])
    leaks = leak_charts(found)
    leakage: tuple[Block, ...] = (
        Prose(paragraphs=("Upwards is better, to the left leaks less. Dotted: the null control.",)),
        Multiples(charts=leaks, caption="Accuracy against what each attack got of a training as it was run."),
    )
    silence: tuple[Block, ...] = (Prose(paragraphs=("No attack was run, so nothing here says what one would get.",)),)
    return (
        Section(name="frontier", title="Utility against privacy", link="Frontier", blocks=tuple(first)),
        Section(name="leakage", title="Utility against leakage", link="Leakage", blocks=leakage if leaks else silence),
        Section(name="points", title="All points", link="Points", blocks=(_points_table(found),)),
        Section(name="missing", title="Missing cells", link="Missing", blocks=_missing(found)),
        Section(name="meaning", title="What these numbers mean, and what they do not", link="What the numbers mean",
                blocks=(Meanings(entries=MEANINGS),)),
        Section(name="setup", title="Setup", link="Setup", blocks=_setup(found, plan)),
    )  # fmt: skip


def _points_table(found: Sweep) -> Table:
    kinds = leak_kinds(found)
    columns = (*found.axes, "ε spent", "Accuracy", "95 % interval", "Seeds", "Precision", "Recall", "F1", "Frontier")
    costs = ("Upload", "Time of a cell", "Peak memory")
    leaks = tuple(f"{attack}, {metric}" for attack, metric in kinds)
    return Table(
        name="all-points",
        caption="Means over seeds; ε is the largest of all clients, upload that of a client in a round. Precision, "
        "recall and F1 are macro averages.",
        columns=(*columns, *leaks, *costs, "Warnings"),
        rows=tuple(_row(point, kinds) for point in found.points),
    )


def _row(point: Point, kinds: tuple[tuple[str, str], ...]) -> tuple[Cell, ...]:
    values = (Cell(text=value_text(value), value=_sortable(value)) for value in point.values.values())
    leaks = []
    for kind in kinds:
        leak = leak_of(point, kind)
        note = "" if leak is None else f"null {text.number(leak.null)}{', frontier' if leak.frontier else ''}"
        leaks.append(number_cell(None if leak is None else leak.value.mean, note=note))
    return (
        *values,
        number_cell(point.epsilon, digits=2, tone="bad" if math.isinf(point.epsilon) else "plain"),
        number_cell(point.accuracy.mean, tone="good" if point.frontier else "plain"),
        interval_cell(point.accuracy.low, point.accuracy.high, tone="warn" if point.warnings else "plain"),
        Cell(text=str(point.accuracy.n), value=point.accuracy.n),
        number_cell(point.precision.mean),
        number_cell(point.recall.mean),
        number_cell(point.f1.mean),
        Cell(text="yes" if point.frontier else "no"),
        *leaks,
        size_cell(point.upload_bytes),
        duration_cell(point.seconds),
        size_cell(point.peak_memory_bytes),
        Cell(text="; ".join(point.warnings), tone="warn"),
    )


def _sortable(value: object) -> float | str | None:
    if value == "inf":
        return "Infinity"
    return sort_key(float(value)) if isinstance(value, int | float) else None


def _missing(found: Sweep) -> tuple[Block, ...]:
    if not found.missing:
        return ()
    rows = tuple(
        (
            Cell(text=values_text(one.values)),
            Cell(text="any" if one.seed is None else str(one.seed)),
            Cell(text=one.kind, tone="bad" if one.kind == "failed" else "warn"),
            Cell(text=one.reason),
        )
        for one in found.missing
    )
    return (
        Prose(
            paragraphs=("Refused: these settings cannot go together. Failed: the training was begun and broke off.",)
        ),
        Table(
            name="missing-cells",
            caption="Cells without a result.",
            columns=("Values", "Seed", "What", "Why"),
            rows=rows,
        ),
    )


def _setup(found: Sweep, plan: str) -> tuple[Block, ...]:
    what = Facts(
        title="What was run",
        pairs=(
            ("Model", found.model),
            ("Data", found.data),
            *((key, ", ".join(map(value_text, values))) for key, values in found.axes.items()),
            ("Seeds", ", ".join(map(str, found.seeds))),
            ("Processor", found.processor),
        ),
    )
    versions = Facts(title="Versions", pairs=tuple(sorted(found.versions.items())))
    return (Pair(blocks=(what, versions)), Folded(summary="Plan", blocks=(Source(label="Plan", text=plan),)))


def _step_words(step: Step) -> str:
    way = f"{values_text(step.start)} → {values_text(step.end)}"
    if step.difference is None:
        return f"{way}: no seed in common"
    low, high = step.difference.low, step.difference.high
    ends = "no interval" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
    verdict = "" if step.conclusive else ", not conclusive"
    gain = f"{step.difference.mean:+.3f} ({ends}, n = {step.difference.n})".replace("-", "−")
    return f"{way}: {gain}{verdict}"


def _epsilon_words(point: Point) -> str:
    return "no ε" if math.isinf(point.epsilon) else f"ε{text.NO_BREAK}{text.number(point.epsilon, digits=2)}"


def _spread_words(found: Spread) -> str:
    if found.low is None:
        return "one seed, so no interval"
    return (
        f"95{text.NO_BREAK}% interval {text.interval(found.low, found.high)}, n{text.NO_BREAK}={text.NO_BREAK}{found.n}"
    )
