"""The matrix for a terminal and for a document."""

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from evaluations.matrix.results import DefenceRow, Matrix, MatrixCell
from evaluations.report.formatting import data_size
from fedpeft_secure.result import ViewName

TITLE = "Attack matrix: value (null control) above its 95 % interval; * as it was run"
COSTS = ("accuracy", "ε", "sent", "seconds")


def screen(found: Matrix) -> Group:
    """What attacks get under each defence, a column for each view; below it what the defences cost.

    Names come as plain text: a submission's may hold anything.
    """
    return Group(_got(found), _costs(found))


def _got(found: Matrix) -> Table:
    table = Table("attack", *_views(found), title=TITLE, box=SIMPLE_HEAD)
    cells = _cells(found)
    for row in found.defences:
        table.add_row(Text(row.defence, style="bold"))
        for attack in _attacks(found):
            table.add_row(Text(attack), *(_two_lines(cells.get((row.defence, attack, view))) for view in _views(found)))
        table.add_section()
    for one in found.failures:
        table.add_row(Text(f"{one.defence}: {one.attack or 'training'}"), "failed")
    return table


def _costs(found: Matrix) -> Table:
    table = Table("defence", *COSTS, box=SIMPLE_HEAD)
    for row in found.defences:
        table.add_row(Text(row.defence), *_cost_words(row))
    return table


def markdown(found: Matrix) -> str:
    """The same as a table of a document."""
    headings = _headings(found)
    lines = [headings, ["---"] * len(headings), *_lines(found)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _headings(found: Matrix) -> list[str]:
    return ["defence", "attack", *_views(found), *COSTS]


def _lines(found: Matrix) -> list[list[str]]:
    cells = _cells(found)
    return [
        [
            row.defence,
            attack,
            *(_words(cells.get((row.defence, attack, view))) for view in _views(found)),
            *_cost_words(row),
        ]
        for row in found.defences
        for attack in _attacks(found)
    ]


def _cells(found: Matrix) -> dict[tuple[str, str, ViewName], MatrixCell]:
    return {(cell.defence, cell.attack, cell.view): cell for cell in found.cells}


def _attacks(found: Matrix) -> list[str]:
    return list(dict.fromkeys(cell.attack for cell in found.cells))


def _views(found: Matrix) -> list[ViewName]:
    return list(dict.fromkeys(cell.view for cell in found.cells))


def _cost_words(row: DefenceRow) -> list[str]:
    spent = "none" if row.epsilon is None else f"{row.epsilon:.2f}"
    return [f"{row.accuracy:.3f}", spent, data_size(row.upload_bytes), f"{row.seconds:.0f}"]


def _words(cell: MatrixCell | None) -> str:
    if cell is None or cell.value is None:
        return "–"
    return f"{cell.value:.2f}{_star(cell)} [{cell.low:.2f}, {cell.high:.2f}] {cell.null:.2f}"


def _two_lines(cell: MatrixCell | None) -> str:
    if cell is None or cell.value is None:
        return "–"
    return f"{cell.value:.2f}{_star(cell)} ({cell.null:.2f})\n[{cell.low:.2f}, {cell.high:.2f}]"


def _star(cell: MatrixCell) -> str:
    return "" if cell.replay else "*"
