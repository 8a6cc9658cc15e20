"""The matrix for a terminal and for a document."""

from rich.table import Table

from evaluations.matrix.results import Matrix, MatrixCell
from evaluations.report.formatting import data_size
from fedpeft_secure.result import ViewName


def screen(found: Matrix) -> Table:
    """A line for each defence and attack, a column for each view."""
    table = Table(title="Attack matrix (value, interval, null; * as it was run)")
    for heading in _headings(found):
        table.add_column(heading)
    for line in _lines(found):
        table.add_row(*line)
    for one in found.failures:
        table.add_row(one.defence, one.attack or "training", "failed")
    return table


def markdown(found: Matrix) -> str:
    """The same as a table of a document."""
    headings = _headings(found)
    lines = [headings, ["---"] * len(headings), *_lines(found)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _headings(found: Matrix) -> list[str]:
    return ["defence", "attack", *_views(found), "accuracy", "ε", "sent", "seconds"]


def _lines(found: Matrix) -> list[list[str]]:
    cells = {(cell.defence, cell.attack, cell.view): cell for cell in found.cells}
    attacks = list(dict.fromkeys(cell.attack for cell in found.cells))
    return [
        [
            row.defence,
            attack,
            *(_words(cells.get((row.defence, attack, view))) for view in _views(found)),
            f"{row.accuracy:.3f}",
            "none" if row.epsilon is None else f"{row.epsilon:.2f}",
            data_size(row.upload_bytes),
            f"{row.seconds:.0f}",
        ]
        for row in found.defences
        for attack in attacks
    ]


def _views(found: Matrix) -> list[ViewName]:
    return list(dict.fromkeys(cell.view for cell in found.cells))


def _words(cell: MatrixCell | None) -> str:
    if cell is None or cell.value is None:
        return "–"
    star = "" if cell.replay else "*"
    return f"{cell.value:.2f}{star} [{cell.low:.2f}, {cell.high:.2f}] {cell.null:.2f}"
