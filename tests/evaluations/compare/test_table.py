import io
from collections.abc import Callable

import pytest
from rich.console import Console

from evaluations.compare.arms import Refused
from evaluations.compare.cells import Cell
from evaluations.compare.table import Comparison, markdown, screen, summarise

MakeCell = Callable[..., Cell]
WORSE = (1.0,) * 4 + (0.0,) * 6


def comparison(make_cell: MakeCell) -> Comparison:
    cells = [make_cell(seed=seed) for seed in (1, 0)]
    cells += [make_cell(arm="fedit", strategy="fedit", seed=seed, correct=WORSE, upload_bytes=500) for seed in (0, 1)]
    cells += [make_cell(arm="local", strategy="", seed=seed, upload_bytes=None, epsilon=None) for seed in (0, 1)]
    return summarise(cells, [Refused(name="flora", reason="needs individual updates")])


def test_rows_are_sorted_by_accuracy_and_measured_against_the_default(make_cell: MakeCell) -> None:
    rows = {row.arm: row for row in comparison(make_cell).rows}
    assert [row.arm for row in comparison(make_cell).rows][-1] == "fedit"
    assert rows["default"].accuracy == pytest.approx(0.7)
    assert rows["default"].difference == 0
    assert rows["fedit"].difference == pytest.approx(-0.3)
    assert rows["fedit"].difference_low < -0.3 < rows["fedit"].difference_high
    assert rows["default"].seeds == (0, 1)


def test_costs_are_means_and_what_has_none_has_none(make_cell: MakeCell) -> None:
    rows = {row.arm: row for row in comparison(make_cell).rows}
    assert (rows["fedit"].upload_bytes, rows["local"].upload_bytes) == (500, None)
    assert (rows["default"].epsilon, rows["local"].epsilon) == (8.0, None)


def test_the_same_answers_never_differ_significantly_and_opposite_ones_do(make_cell: MakeCell) -> None:
    right, wrong = (1.0,) * 200, (0.0,) * 200
    cells = [make_cell(correct=right), make_cell(arm="a", correct=right), make_cell(arm="b", correct=wrong)]
    assert {row.arm: row.significant for row in summarise(cells, []).rows} == {"default": False, "a": False, "b": True}


def test_a_lucky_arm_among_many_is_not_taken_for_better(make_cell: MakeCell) -> None:
    better = (1.0,) * 7 + (1.0,) + (0.0,) * 2
    many = [make_cell(), *(make_cell(arm=f"arm-{number}", correct=better) for number in range(20))]
    assert not any(row.significant for row in summarise(many, []).rows)


def test_the_markdown_table_has_a_line_for_each_arm_and_names_the_refused(make_cell: MakeCell) -> None:
    lines = markdown(comparison(make_cell)).splitlines()
    assert len({line.count("|") for line in lines[:5]}) == 1
    assert any(line.startswith("| default (fedsvd) | 70.0 [") for line in lines)
    assert any(line.startswith("| fedit | 40.0 [") and "-30.0 [" in line for line in lines)
    assert lines[-1] == "* `flora` is refused here: needs individual updates"


def test_an_ordinary_terminal_shows_all_of_it(make_cell: MakeCell) -> None:
    found = comparison(make_cell)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(screen(found))
    shown = console.export_text()
    assert "flora" in shown
    assert "…" not in shown
    cells = {cell.strip() for line in markdown(found).splitlines()[:5] for cell in line.split("|")}
    assert cells - {"---", ""} <= {
        cell.strip() for line in shown.splitlines() for cell in line.replace("┃", "│").split("│")
    }
