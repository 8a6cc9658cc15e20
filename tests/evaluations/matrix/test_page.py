"""The page, the pictures and the tables of a made-up matrix."""

from io import StringIO

import matplotlib as mpl
import numpy as np
import pytest
from rich.console import Console

from evaluations.matrix import Matrix, markdown, screen
from evaluations.matrix.page import matrix_document
from evaluations.matrix.pictures import SCALE, ink, pictures
from evaluations.matrix.results import Failure
from evaluations.matrix.verdicts import verdict
from evaluations.report import render_document
from evaluations.report.formatting import data_size
from tests.evaluations.matrix.conftest import MakeCell


@pytest.mark.parametrize(
    ("low", "word"), [(0.05, "nothing found"), (0.1, "nothing found"), (0.15, "hints"), (0.3, "leaks")]
)
def test_the_verdict_is_the_interval_against_the_null(make_cell: MakeCell, low: float, word: str) -> None:
    assert verdict(make_cell(low=low)) == word


def test_a_null_control_below_chance_is_an_accident_and_makes_no_leak(make_cell: MakeCell) -> None:
    assert verdict(make_cell(metric="AUC", value=0.5, low=0.43, null=0.3)) == "nothing found"
    assert verdict(make_cell(metric="AUC", value=0.7, low=0.61, null=0.3)) == "leaks"


def test_a_gap_has_no_verdict(make_cell: MakeCell) -> None:
    gap = {"value": None, "low": None, "high": None, "null": None, "note": "no"}
    assert verdict(make_cell(**gap)) == "not measured"


def test_the_page_has_every_number_with_interval_null_and_cost(small: Matrix) -> None:
    page = render_document(matrix_document(small, origin="matrix-1"))
    for words in (
        "0.900 *",
        "leaks: 0.800 to 1.000, null 0.100",
        "nothing found",
        "it is refused",
        data_size(1000),
        "7.90",
    ):
        assert words.replace("\u00a0", " ") in page.replace("\u00a0", " ").replace("–", "to"), words


def test_failures_come_first(small: Matrix) -> None:
    failed = small.model_copy(update={"failures": (Failure(defence="ffa", reason="it <b>broke</b>"),)})
    document = matrix_document(failed, origin="matrix-1")
    assert document.notices[0].tone == "bad"
    assert "it &lt;b&gt;broke" in render_document(document)


def test_every_attack_has_its_picture(small: Matrix) -> None:
    found = pictures(small)
    assert set(found) == {f"matrix-{attack}.{kind}" for attack in ("span", "membership") for kind in ("png", "svg")}
    assert b"null 0.10" in found["matrix-span.svg"]


def test_text_stands_out_on_every_colour() -> None:
    """A contrast of 4.5 : 1 at least, by WCAG's formula."""

    def luminance(colour: tuple[float, ...]) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for value in np.linspace(0, 1, 101):
        darker, lighter = sorted([luminance(mpl.colormaps[SCALE](float(value))), float(ink(value) == "white")])
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, value


def test_the_tables_have_a_line_for_each_defence_and_attack(small: Matrix) -> None:
    lines = markdown(small).splitlines()
    assert len(lines) == 2 + 2 * 2
    assert "0.90* [0.80, 1.00] 0.10" in lines[2]


def test_an_ordinary_terminal_shows_all_of_it(small: Matrix) -> None:
    console = Console(file=StringIO(), width=80)
    console.print(screen(small.model_copy(update={"failures": (Failure(defence="ffa", reason="no"),)})))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "ffa: training" in shown
    assert "failed" in shown
    assert "0.90* (0.10)" in shown
    assert "[0.80, 1.00]" in shown
    assert shown.count("plain") == 2  # what attacks get, and what it costs
    assert "…" not in shown


def test_names_of_a_submission_are_no_markup(small: Matrix) -> None:
    odd = "none [/b]"
    rows = tuple(row.model_copy(update={"defence": odd}) for row in small.defences[:1])
    cells = tuple(cell.model_copy(update={"defence": odd, "attack": "mia[/x]"}) for cell in small.cells)
    console = Console(file=StringIO(), width=100)
    console.print(screen(small.model_copy(update={"defences": rows, "cells": cells})))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count(odd) == 2
    assert "mia[/x]" in shown
