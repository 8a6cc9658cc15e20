import math

import pytest

from evaluations.report.elements import Cell, Table, duration_cell, interval_cell, number_cell, size_cell
from tests.evaluations.documents import document


def test_every_chart_is_found_however_deep() -> None:
    assert [chart.name for chart in document().charts] == ["left", "right", "a", "b"]


@pytest.mark.parametrize(
    ("cell", "text", "key"),
    [
        (number_cell(0.5), "0.500", 0.5),
        (number_cell(math.inf), "∞", "Infinity"),
        (number_cell(-math.inf), "−∞", "-Infinity"),
        (number_cell(None), "–", ""),
        (number_cell(math.nan), "–", ""),
        (interval_cell(0.1, 0.2), "0.100 to 0.200", 0.1),
        (interval_cell(None, None), "–", ""),
        (size_cell(90_000), "90.0\u00a0kB", 90_000),
        (size_cell(None), "–", ""),
        (duration_cell(5), "5.00\u00a0s", 5),
        (duration_cell(None), "–", ""),
    ],
)
def test_cells_show_a_text_and_sort_by_a_number(cell: Cell, text: str, key: object) -> None:
    assert (cell.text, cell.value) == (text, key)


def test_a_row_has_a_cell_for_every_column() -> None:
    with pytest.raises(ValueError, match="table t: a row of 1 cells under 2 columns"):
        Table(name="t", caption="", columns=("a", "b"), rows=((Cell(text="1"),),))
