"""The report page of a recommendation."""

import math
from pathlib import Path

from evaluations.recommend.answer import CandidateAnswer, RecommendationAnswer, WishAnswer
from evaluations.report import Document, Section, render_document, write_page
from evaluations.report import formatting as text
from evaluations.report.elements import (
    Answer,
    Block,
    Cell,
    Meanings,
    Notice,
    Prose,
    Source,
    Table,
    Tone,
    interval_cell,
    number_cell,
    size_cell,
    sort_key,
)
from fedpeft_secure.doctor import versions

MEANINGS = (
    ("Kept, unsure, broken, unknown", "Kept: the whole 95 % interval over seeds lies on the right side of the limit. "
     "Unsure: the mean does, the interval does not, or there is one seed. Broken: the mean lies on the wrong side. "
     "Unknown: nothing was measured, which is never taken for kept."),
    ("Which one is recommended", "Among what surely keeps every wish: the smallest ε, then the smallest upload, "
     "then the best accuracy. Only if there is nothing of that kind, the same among what keeps them by the mean. "
     "Intervals are each configuration’s own: of many that just miss a floor, a lucky one will seem to keep it."),
    ("The ε of the evidence", "Each run’s ε covers that run. To have looked at all of them and then train once more "
     "is a use of all of them: let the evidence come from a simulation, from public data, or from one ledger that "
     "covers the search and the final run together."),
    ("Memory and time", "Predicted by the cost model from public facts about each client’s device, for one physical "
     "batch and the mean client. Upload is measured."),
)  # fmt: skip
TONES: dict[str, Tone] = {"kept": "plain", "unsure": "warn", "unknown": "warn", "broken": "bad"}


def write_recommendation_page(out: Path, found: RecommendationAnswer, config: str) -> Path:
    """Writes `report.html` into a recommendation's directory.

    Args:
        out: the directory.
        found: what is recommended, and why.
        config: the recommended configuration; empty where there is none.
    """
    return write_page(out, render_document(recommendation_document(found, config, origin=out.resolve().name)), {})


def recommendation_document(found: RecommendationAnswer, config: str, *, origin: str) -> Document:
    """Decides everything that the page shows."""
    first = found.candidates[0]
    sections = [Section(name="wishes", title=_wishes_title(found), link="Wishes", blocks=(_wishes(first),))]
    if found.budgets:
        sections.append(
            Section(name="budgets", title="Every client’s budget", link="Budgets", blocks=(_budgets(found),))
        )
    sections.append(Section(name="evidence", title="Evidence", link="Evidence", blocks=(_evidence(found),)))
    sections.append(
        Section(name="meaning", title="How it was decided", link="How", blocks=(Meanings(entries=MEANINGS),))
    )
    if config:
        words = Prose(paragraphs=(found.statement, "fedpeft run takes it as it is."))
        blocks: tuple[Block, ...] = (words, Source(label="Recommended configuration", text=config))
        sections.append(Section(name="configuration", title="Configuration", link="Configuration", blocks=blocks))
    return Document(
        eyebrow="Recommendation",
        title=first.title if found.status != "none" else "Nothing to recommend",
        lead=f"Chosen among {text.count(len(found.candidates), 'configuration')} that were trained.",
        notices=_notices(found),
        answers=_answers(found),
        sections=tuple(sections),
        origin=origin,
        version=versions()["fedpeft-secure"],
    )


def _notices(found: RecommendationAnswer) -> tuple[Notice, ...]:
    if found.status == "none":
        return (Notice(title="Nothing keeps all wishes", body=found.statement, tone="bad"),)
    if found.status == "unsure":
        return (Notice(title="Not sure", body=found.statement.removeprefix("NOT SURE: "), tone="bad"),)
    return ()


def _answers(found: RecommendationAnswer) -> tuple[Answer, ...]:
    first = found.candidates[0]
    value = {"sure": "Surely", "unsure": "Perhaps", "none": "No"}[found.status]
    tone: Tone = "plain" if found.status == "sure" else "bad" if found.status == "none" else "warn"
    missed = tuple(map(_open, _not_kept(first)))[:3]
    low, high = first.accuracy.low, first.accuracy.high
    interval = "one seed, so no interval" if low is None else f"95 % interval {text.interval(low, high)}"
    return (
        Answer(question="Are all wishes kept", value=value, unit="", tone=tone, lines=missed or ("By every interval",)),
        Answer(question="How good", value=text.number(first.accuracy.mean), unit="accuracy", lines=(interval,)),
        Answer(
            question="At what privacy",
            value=f"ε{text.NO_BREAK}{text.number(first.epsilon, digits=2)}",
            unit=f"for one {first.unit}",
            lines=("The largest that a client spent in one run", *_delta(first)),
        ),
    )


def _delta(candidate: CandidateAnswer) -> tuple[str, ...]:
    if math.isinf(candidate.epsilon):
        return ("Not private: nothing bounds what is revealed",)
    return (f"δ{text.NO_BREAK}={text.NO_BREAK}{text.power_of_ten(candidate.delta)}",)


def _wishes_title(found: RecommendationAnswer) -> str:
    return "The nearest, wish by wish" if found.status == "none" else "Wish by wish"


def _wishes(candidate: CandidateAnswer) -> Table:
    rows = tuple(
        (
            Cell(text=one.wish),
            Cell(text=one.client or "all"),
            Cell(text=one.standing, tone=TONES[one.standing]),
            Cell(text=one.figures),
        )
        for one in candidate.wishes
    )
    caption = f"{candidate.title}: what was asked for, and how it fares."
    return Table(name="all-wishes", caption=caption, columns=("Wish", "Client", "Standing", "Figures"), rows=rows)


def _budgets(found: RecommendationAnswer) -> Table:
    rows = tuple((Cell(text=name), Cell(text=text.shortest(e), value=sort_key(e))) for name, e in found.budgets.items())
    return Table(
        name="all-budgets", caption="ε of each client in the configuration.", columns=("Client", "ε"), rows=rows
    )


def _not_kept(candidate: CandidateAnswer) -> list[WishAnswer]:
    return [one for one in candidate.wishes if one.standing != "kept"]


def _open(one: WishAnswer) -> str:
    return f"{one.wish}{f' of {one.client}' if one.client else ''}: {one.figures}"


def _evidence(found: RecommendationAnswer) -> Table:
    rows = tuple(
        (
            Cell(text=each.title),
            number_cell(each.accuracy.mean),
            interval_cell(each.accuracy.low, each.accuracy.high),
            Cell(text=str(each.accuracy.n), value=each.accuracy.n),
            number_cell(each.epsilon, digits=2),
            Cell(text=_leaks(each)),
            size_cell(each.upload_bytes),
            Cell(text=each.standing, tone=TONES[each.standing]),
            Cell(text="; ".join(map(_open, _not_kept(each)))),
        )
        for each in found.candidates
    )
    columns = (
        "Configuration",
        "Accuracy",
        "95 % interval",
        "Seeds",
        "ε",
        "Leakage",
        "Upload",
        "Standing",
        "What is open",
    )
    return Table(
        name="all-candidates", caption="Everything that was looked at, the best first.", columns=columns, rows=rows
    )


def _leaks(each: CandidateAnswer) -> str:
    if not each.leaks:
        return "not measured"
    return "; ".join(
        f"{k.attack} {k.metric} {text.number(k.value.mean)} (null {text.number(k.null)})" for k in each.leaks
    )
