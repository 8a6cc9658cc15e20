from pathlib import Path

import pytest

from evaluations.compare.arms import Refused
from evaluations.compare.charts import upload_chart
from evaluations.compare.page import compare_document, write_compare_page
from evaluations.compare.table import Comparison, summarise
from evaluations.report import render_document
from fedpeft_secure import Config
from fedpeft_secure.result import AttackRow
from tests.evaluations.conftest import browser
from tests.evaluations.test_report_page import HOSTILE, visible

__all__ = ["browser"]

ROW = AttackRow(
    attack="membership", view="sum", replay=False, metric="AUC", value=0.61, low=0.6, high=0.62, null=0.5
)  # fmt: skip


def comparison(make_cell, name: str = "fedit") -> Comparison:
    right, some = (1.0,) * 200, (1.0,) * 120 + (0.0,) * 80
    cells = [make_cell(seed=seed, correct=some, attacks=(ROW,)) for seed in (0, 1)]
    cells += [make_cell(arm=name, strategy=name, seed=seed, correct=right, upload_bytes=500) for seed in (0, 1)]
    alone = {"upload_bytes": None, "download_bytes": None, "epsilon": None, "flops": None}
    cells += [make_cell(arm="local", strategy="", seed=seed, correct=some, **alone) for seed in (0, 1)]
    return summarise(cells, [Refused(name="flora", reason="needs individual updates")])


def shown(found: Comparison, base: Config | None = None) -> str:
    return visible(render_document(compare_document(found, base or Config(), origin="compare-1")))


def test_everything_asked_for_is_there(make_cell) -> None:
    seen = shown(comparison(make_cell))
    for words in (
        "3 arms on the same data", "Best arm 1.000", "The default 0.600", "Told apart from the default 1 of 2",
        "Better: fedit", "Worse: none", "Smallest upload 500", "+0.400*", "0.710", "0.690", "0.680",
        "2.5", "900 MB", "8.00", "membership, AUC", "0.610 null 0.500", "needs individual updates", "Simulation.",
        "learning rate",
    ):  # fmt: skip
        assert words in seen, words


def test_what_has_no_privacy_or_no_second_seed_says_so(make_cell) -> None:
    found = summarise([make_cell(), make_cell(arm="fedit")], [])
    seen = shown(found, Config.model_validate({"privacy": {"epsilon": "inf"}}))
    assert "NOT PRIVATE. The arms trained without a budget" in seen
    assert "One seed. There is one seed" in seen
    assert "One seed." not in shown(comparison(make_cell))


def test_names_of_equal_arms_stand_on_different_sides_and_sizes_are_named(make_cell) -> None:
    right = (1.0,) * 120 + (0.0,) * 80
    names = ("default", "fedit", "ffa")
    found = summarise([make_cell(arm=name, strategy=name, correct=right, upload_bytes=30_000) for name in names], [])
    chart = upload_chart(found)
    (dots,) = chart.figure["data"]
    assert list(dots["textposition"]) == ["middle right", "middle left", "top right"]
    axis = chart.figure["layout"]["xaxis"]
    assert [label.replace("\u00a0", " ") for label in axis["ticktext"]] == ["10 kB", "20 kB", "50 kB", "100 kB"]
    assert list(axis["range"]) == pytest.approx([4, 5])
    far = comparison(make_cell).rows
    far = tuple(row.model_copy(update={"upload_bytes": 10 ** (3 + 3 * i)}) for i, row in enumerate(far))
    axis = upload_chart(found.model_copy(update={"rows": far})).figure["layout"]["xaxis"]
    assert all(label.startswith("1") for label in axis["ticktext"])


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_draws_it_quietly(browser, make_cell, tmp_path: Path, width: int, scheme: str) -> None:
    path = write_compare_page(tmp_path, comparison(make_cell), Config())
    assert {file.name for file in (tmp_path / "plots").iterdir()} == {"accuracy.png", "accuracy.svg"}
    browser.open(path, width=width, scheme=scheme)
    assert browser.complaints() == []
    assert browser.requests() == [path.resolve().as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    drawn = browser.evaluate("[...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('.point').length)")
    assert drawn == [3, 2, 2]
    browser.evaluate("document.querySelectorAll('#all-arms thead button')[8].click()")
    names = "[...document.querySelectorAll('#all-arms tbody tr')].map(r => r.cells[0].firstChild.textContent)"
    assert browser.evaluate(names) == ["fedit", "default", "local"]


def test_hostile_names_stay_text(browser, make_cell, tmp_path: Path) -> None:
    path = write_compare_page(tmp_path, comparison(make_cell, HOSTILE), Config())
    browser.open(path)
    assert browser.evaluate("typeof window.broken") == "undefined"
    assert browser.requests() == [path.resolve().as_uri()]
    assert browser.complaints() == []
