"""The report page of an attack matrix."""

from pathlib import Path

from evaluations.matrix.pictures import pictures
from evaluations.matrix.results import DefenceRow, Matrix, MatrixCell
from evaluations.matrix.verdicts import TONES, verdict
from evaluations.report import formatting as text
from evaluations.report.elements import (
    Answer,
    Block,
    Cell,
    Document,
    Facts,
    Listing,
    Meanings,
    Notice,
    Pair,
    Prose,
    Section,
    Table,
    duration_cell,
    interval_cell,
    number_cell,
    size_cell,
)
from evaluations.report.rendering import render_document
from evaluations.report.verdicts import VIEW_NAMES
from evaluations.report.writing import write_page

MEANINGS = (
    ("A cell", "One attack on one training under one view. The view that the training itself leaves to a curious "
     "server is read from its recorded messages; the other views are replays of the same round, with one sentence or "
     "a small batch a client, in which a defence is switched off or put on."),
    ("Interval and null", "The interval has 95 %. The null control is the same attack where there is nothing to find: "
     "unrelated texts, or non-members of the same classes."),
    ("leaks, hints, nothing found", "Leaks: the interval lies more than 0.1 above the null control. Hints: it lies "
     "above. Nothing found: it does not. That proves nothing: a better attack may find more. No correction is made "
     "for the number of cells."),
    ("Costs", "Of one training at one seed; differences between defences of a few points of accuracy are chance."),
)  # fmt: skip


def write_matrix_page(out: Path, found: Matrix) -> Path:
    """Writes `report.html` and `plots/` into a matrix's directory."""
    return write_page(out, render_document(matrix_document(found, origin=out.resolve().name)), pictures(found))


def matrix_document(found: Matrix, *, origin: str) -> Document:
    """Decides everything that the page shows."""
    attacks = tuple(dict.fromkeys(cell.attack for cell in found.cells))
    defences = text.count(len(found.defences), "defence")
    return Document(
        eyebrow="Attack matrix",
        title=found.model.rsplit("/", 1)[-1],
        subtitle=f"on {found.data.split(' (')[0]}",
        lead=f"{text.count(len(attacks), 'attack')} on {defences}: {text.count(len(found.cells), 'cell')}.",
        notices=_notices(found),
        answers=_answers(found),
        sections=(
            *(_attack_section(found, attack, number) for number, attack in enumerate(attacks, start=1)),
            Section(name="costs", title="What each defence costs", link="Costs", blocks=(_costs(found),)),
            Section(name="cells", title="All cells", link="All cells", blocks=(_cells(found),)),
            *_missing(found),
            Section(name="meaning", title="What these numbers mean, and what they do not", link="What it means",
                    blocks=(Meanings(entries=MEANINGS),)),
            Section(name="setup", title="Setup", link="Setup", blocks=(_setup(found),)),
        ),
        origin=origin,
        version=found.versions.get("fedpeft-secure", ""),
    )  # fmt: skip


def _notices(found: Matrix) -> tuple[Notice, ...]:
    if not found.failures:
        return ()
    count = text.count(len(found.failures), "cell")
    body = "They are named under Missing, with the reason; the same command tries them again."
    return (Notice(title=f"{count} failed", body=body, tone="bad"),)


def _answers(found: Matrix) -> tuple[Answer, ...]:
    answers = []
    for attack in dict.fromkeys(cell.attack for cell in found.cells):
        own = [cell for cell in found.cells if cell.attack == attack and not cell.replay and cell.value is not None]
        if own:
            worst = max(own, key=lambda cell: (cell.low or 0.0) - (cell.null or 0.0))
            answers.append(
                Answer(
                    question=f"{attack}: most, as it was run",
                    value=text.number(worst.value),
                    unit=worst.metric,
                    lines=(
                        f"Defence: {worst.defence}",
                        f"95{text.NO_BREAK}% interval {text.interval(worst.low, worst.high)}, null "
                        f"{text.number(worst.null)}",
                    ),
                    tone=TONES[verdict(worst)],
                )
            )
    return tuple(answers)


def _attack_section(found: Matrix, attack: str, number: int) -> Section:
    cells = {(cell.defence, cell.view): cell for cell in found.cells if cell.attack == attack}
    views = tuple(dict.fromkeys(view for _, view in cells))
    metric = next(iter(cells.values())).metric
    rows = tuple(
        (
            Cell(text=row.defence),
            *(_heat(cells.get((row.defence, view))) for view in views),
            number_cell(row.accuracy),
            _epsilon(row),
            size_cell(row.upload_bytes),
        )
        for row in found.defences
    )
    table = Table(
        name=f"attack-{number}",
        caption=f"{metric} by defence and view, with its 95 % interval and null control; * as it was run. Upload is "
        "per client and round.",
        columns=("Defence", *(VIEW_NAMES[view] for view in views), "Accuracy", "ε", "Upload"),
        rows=rows,
    )
    return Section(name=f"attack-{number}-section", title=f"{attack}: {metric}", link=attack, blocks=(table,))


def _heat(cell: MatrixCell | None) -> Cell:
    if cell is None or cell.value is None:
        return Cell(text=text.ABSENT, value="", tone="muted")
    note = f"{verdict(cell)}: {text.interval(cell.low, cell.high)}, null {text.number(cell.null)}"
    star = "" if cell.replay else " *"
    return Cell(text=f"{text.number(cell.value)}{star}", value=cell.value, tone=TONES[verdict(cell)], note=note)


def _epsilon(row: DefenceRow) -> Cell:
    if row.epsilon is None:
        return Cell(text="none", value="Infinity", tone="bad")
    return number_cell(row.epsilon, digits=2, note=f"δ {text.power_of_ten(row.delta or 0.0)}, {row.unit}")


def _changes(row: DefenceRow) -> str:
    """What a defence changed; emptied tables say nothing."""
    return "; ".join(f"{key} = {value}" for key, value in row.changes.items() if value != "{}")


def _costs(found: Matrix) -> Table:
    rows = tuple(
        (
            Cell(text=row.defence, note=_changes(row)),
            number_cell(row.accuracy, note=f"majority {text.number(row.majority_baseline)}"),
            _epsilon(row),
            size_cell(row.upload_bytes),
            duration_cell(row.seconds),
            Cell(text=row.strategy),
            Cell(text=row.protocol),
            Cell(text=str(row.rank), value=row.rank),
            Cell(text=str(row.cohort), value=row.cohort),
        )
        for row in found.defences
    )
    columns = ("Defence", "Accuracy", "ε", "Upload", "Training", "Strategy", "Sum", "Rank", "Cohort")
    return Table(
        name="costs-table", caption="One training each. Upload is per client and round.", columns=columns, rows=rows
    )


def _cells(found: Matrix) -> Table:
    rows = tuple(
        (
            Cell(text=cell.attack),
            Cell(text=cell.defence),
            Cell(text=VIEW_NAMES[cell.view]),
            Cell(text="replay" if cell.replay else "as it was run"),
            number_cell(cell.value, note=cell.metric),
            interval_cell(cell.low, cell.high),
            number_cell(cell.null),
            Cell(text=verdict(cell), tone=TONES[verdict(cell)]),
            Cell(text=cell.note),
        )
        for cell in found.cells
    )
    columns = ("Attack", "Defence", "View", "Source", "Value", "95 % interval", "Null", "Verdict", "Note")
    return Table(name="all-cells", caption="Every cell; filter by any word.", columns=columns, rows=rows)


def _missing(found: Matrix) -> tuple[Section, ...]:
    blocks: list[Block] = []
    if found.failures:
        items = tuple(f"{one.attack or 'training'} on {one.defence}: {one.reason}" for one in found.failures)
        blocks.append(Listing(title="Failed", items=items))
    if found.refused:
        items = tuple(f"{name}: {reason}" for name, reason in found.refused.items())
        blocks.append(Listing(title="Refused by this configuration", items=items))
    if not blocks:
        return ()
    lead = Prose(paragraphs=("These cells have no numbers.",))
    return (Section(name="missing", title="Missing", link="Missing", blocks=(lead, *blocks)),)


def _setup(found: Matrix) -> Pair:
    what = (("Model", found.model), ("Data", found.data), ("Seed", str(found.seed)), ("Processor", found.processor))
    versions = tuple(sorted(found.versions.items()))
    return Pair(blocks=(Facts(title="What was run", pairs=what), Facts(title="Versions", pairs=versions)))
