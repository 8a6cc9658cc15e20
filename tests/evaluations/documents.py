"""A page with one block of every kind."""

from dataclasses import replace

from evaluations.report.charts import PALETTE, blank_figure, finished_chart
from evaluations.report.elements import (
    Answer,
    Bar,
    Cell,
    Chart,
    Document,
    Facts,
    Folded,
    Listing,
    Meanings,
    Multiples,
    Notice,
    Pair,
    Prose,
    Section,
    Source,
    Table,
    interval_cell,
    number_cell,
)


def chart(name: str, caption: str = "Accuracy by ε.") -> Chart:
    figure = blank_figure("ε", "accuracy")
    figure.add_scatter(x=[1, 3, 8], y=[0.61, 0.7, 0.75], mode="lines+markers", line={"color": PALETTE[0]})
    return finished_chart(name, caption, "Line chart. Accuracy goes from 0.610 to 0.750.", 280, figure)


def table() -> Table:
    points = [(1.0, 0.61, 0.02), (3.0, 0.7, 0.01), (8.0, 0.75, 0.004), (float("inf"), 0.8, None), (0.5, None, None)]
    return Table(
        name="points",
        caption="What each point gave.",
        columns=("Point", "ε", "Accuracy", "Interval", "Note"),
        rows=tuple(
            (
                Cell(text=f"point {number}"),
                number_cell(epsilon),
                number_cell(accuracy, tone="good" if accuracy and accuracy > 0.7 else "plain", note="3 seeds"),
                interval_cell(accuracy - half, accuracy + half) if accuracy and half else interval_cell(None, None),
                Cell(text="nothing was measured here, for a reason that takes a whole sentence to tell"),
            )
            for number, (epsilon, accuracy, half) in enumerate(points, start=1)
        ),
    )


def document() -> Document:
    return Document(
        eyebrow="Privacy–utility sweep",
        title="minilm",
        subtitle="on rotten_tomatoes",
        lead="12 cells: privacy.epsilon over 1, 3, 8 and inf, with 3 seeds each.",
        notices=(
            Notice(title="Simulation", body="Noise came from a seed.", tone="warn"),
            Notice(title="2 cells failed", body="They are named below.", tone="bad"),
        ),
        answers=(
            Answer(question="How good", value="0.750", unit="accuracy", lines=("At ε = 8", "3 seeds"),
                   bar=Bar(share=0.75, mark=0.5, label="accuracy 0.750, majority 0.500")),
            Answer(question="How sure", value="±0.012", unit="", lines=("Student t over 3 seeds",), tone="warn"),
        ),
        sections=(
            Section(name="frontier", title="The frontier", link="Frontier", blocks=(
                Prose(paragraphs=("Nothing lies above this line.", "Read it so.")),
                Pair(blocks=(chart("left"), chart("right", "Another."))),
                Multiples(charts=(chart("a", "span"), chart("b", "membership")), caption="Small ones."),
                table(),
            )),
            Section(name="meaning", title="What it means", link="Meaning", blocks=(
                Meanings(entries=(("ε", "A bound."), ("AUC", "A chance."))),
                Facts(title="Versions", pairs=(("torch", "2.13"), ("numpy", "2.4"))),
                Listing(title="Refused", items=("rank = 0: too small", "rank = 9: too large")),
                Folded(summary="Configuration", blocks=(Source(label="Configuration", text="seed = 0\n"),)),
            )),
        ),
        origin="sweep-1",
        version="0.1.0",
    )  # fmt: skip


def hostile_document(words: str) -> Document:
    """The same with `words` wherever somebody else's may come."""
    page = document()
    cells = tuple(Cell(text=words, value=words, note=words) for _ in range(2))
    blocks = (
        Table(name="t", caption=words, columns=(words, words), rows=(cells,) * 6),
        Prose(paragraphs=(words,), title=words),
        Facts(title=words, pairs=((words, words),)),
        Listing(title=words, items=(words,)),
        Meanings(entries=((words, words),)),
        Source(label=words, text=words),
        Folded(summary=words, blocks=(Notice(title=words, body=words, tone="warn"),)),
        replace(chart("c"), caption=words, label=words),
    )
    return replace(
        page,
        title=words,
        subtitle=words,
        lead=words,
        origin=words,
        answers=(Answer(question=words, value=words, unit=words, lines=(words,)),),
        sections=(Section(name="s", title=words, link=words, blocks=blocks),),
    )
