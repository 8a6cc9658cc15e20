import math
from pathlib import Path

import pytest

from evaluations.report import render_document
from evaluations.sweep.page import sweep_document, write_sweep_page
from evaluations.sweep.results import Sweep
from tests.evaluations.conftest import browser
from tests.evaluations.test_report_page import HOSTILE, visible

__all__ = ["browser"]

LEAKS = {1: 0.50, 3: 0.51, 8: 0.56, math.inf: 0.7}
UNSURE = {1: (0.50, 0.61, 0.6), 3: (0.70, 0.69, 0.71), 8: (0.75, 0.68, 0.752), math.inf: (0.79, 0.8, 0.81)}


def shown(found: Sweep) -> str:
    return visible(render_document(sweep_document(found, "seeds = [0, 1, 2]\n", origin="sweep-1")))


def test_the_answers_come_first_and_say_how_sure_they_are(make_sweep) -> None:
    seen = shown(make_sweep())
    for words in (
        "12 trainings: privacy.epsilon over 1, 3, 8, inf; 3 seeds each", "Most accurate with a finite ε 0.747",
        "95 % interval 0.731 to 0.763, n = 3", "Smallest ε above guessing ε 0.99", "Without privacy 0.800",
        "20 min 00 s", "privacy.epsilon = 1 → privacy.epsilon = 3: +0.103", "No attack was run", "seeds = [0, 1, 2]",
        "2.13.0",
    ):  # fmt: skip
        assert words in seen, words


def test_a_simulation_is_called_one_above_everything(make_sweep) -> None:
    seen = shown(make_sweep())
    assert "Simulation: each ε covers its own cell." in seen
    assert seen.index("Simulation: each ε covers") < seen.index("Utility against privacy")


def test_what_the_seeds_do_not_carry_is_said(make_sweep) -> None:
    sure, unsure = shown(make_sweep()), shown(make_sweep(UNSURE))
    assert "Not enough seeds to conclude" not in sure
    assert "Not enough seeds to conclude" in unsure
    assert "too wide to conclude from this point" in unsure
    assert "not conclusive" in unsure


def test_leakage_has_its_control_and_its_own_frontier(make_sweep) -> None:
    seen = shown(make_sweep(leaks=LEAKS))
    assert "membership: AUC" in seen
    assert "null 0.500, frontier" in seen
    assert "No attack was run" not in seen


def test_failures_stand_above_the_answers_with_their_reasons(make_sweep) -> None:
    found = make_sweep()
    name = found.points[0].runs[0].removeprefix("cells/")
    seen = shown(make_sweep(failures={name: "the ledger is full"}))
    assert seen.index("1 cell failed.") < seen.index("Most accurate")
    assert "the ledger is full" in seen


def test_pictures_lie_beside_the_page(make_sweep, tmp_path: Path) -> None:
    path = write_sweep_page(tmp_path, make_sweep(leaks=LEAKS), "")
    assert path == tmp_path / "report.html"
    names = {file.name for file in (tmp_path / "plots").iterdir()}
    assert names == {"frontier.png", "frontier.svg", "leak-1.png", "leak-1.svg"}
    svg = (tmp_path / "plots" / "frontier.svg").read_text()
    assert all(words in svg for words in ("no limit", "majority baseline", "simulation", "test accuracy"))


def test_without_different_epsilons_there_is_no_frontier_to_draw(make_sweep) -> None:
    found = make_sweep()
    flat = found.model_copy(update={"points": found.points[:1], "axes": {"peft.rank": (8,)}, "steps": ()})
    document = sweep_document(flat, "", origin="x")
    assert document.charts == ()
    assert "frontier" not in [section.name for section in document.sections]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_draws_it_quietly(browser, make_sweep, tmp_path: Path, width: int, scheme: str) -> None:
    path = write_sweep_page(tmp_path, make_sweep(UNSURE, leaks=LEAKS), "")
    browser.open(path, width=width, scheme=scheme)
    assert browser.complaints() == []
    assert browser.requests() == [path.resolve().as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    drawn = browser.evaluate(
        "[...document.querySelectorAll('.chart')].map(c => [c.id, c.querySelectorAll('.point').length])"
    )
    assert drawn == [["chart-frontier", 16], ["chart-leak-1", 4]]
    browser.evaluate("document.querySelectorAll('#all-points thead button')[2].click()")
    column = "[...document.querySelectorAll('#all-points tbody tr')].map(r => r.cells[2].textContent)"
    assert browser.evaluate(column) == ["0.570", "0.700", "0.727", "0.800"]


def test_hostile_values_stay_text(browser, make_sweep, tmp_path: Path) -> None:
    found = make_sweep(leaks=LEAKS)
    points = tuple(point.model_copy(update={"values": {HOSTILE: HOSTILE}}) for point in found.points)
    path = write_sweep_page(
        tmp_path, found.model_copy(update={"points": points, "axes": {HOSTILE: (HOSTILE, "b")}}), ""
    )
    browser.open(path)
    assert browser.evaluate("typeof window.broken") == "undefined"
    assert browser.requests() == [path.resolve().as_uri()]
    assert browser.complaints() == []
