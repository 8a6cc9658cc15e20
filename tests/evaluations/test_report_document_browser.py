"""Pages of any kind of result in a browser: quiet, drawn, sortable, filterable, narrow enough for a phone."""

from pathlib import Path

import pytest

from evaluations.report import render_document
from tests.evaluations.documents import document, hostile_document
from tests.evaluations.test_report_page import HOSTILE

NAMES = "[...document.querySelectorAll('#points tbody tr')].filter(r => !r.hidden).map(r => r.cells[0].textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("document") / "report.html"
    path.write_text(render_document(document()), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_it_is_quiet_whole_and_asks_for_nothing(browser, page, width, scheme):
    browser.open(page, width=width, scheme=scheme)
    assert browser.complaints() == []
    assert browser.requests() == [page.resolve().as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    drawn = "[...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('.point').length)"
    assert browser.evaluate(drawn) == [3, 3, 3, 3]


def sort_by(browser, column: int) -> list[str]:
    browser.evaluate(f"document.querySelectorAll('#points thead button')[{column}].click()")
    return [name.removeprefix("point ") for name in browser.evaluate(NAMES)]


def test_infinity_is_the_largest_and_absent_is_last_in_either_direction(browser, page):
    browser.open(page)
    assert sort_by(browser, 1) == ["5", "1", "2", "3", "4"]
    assert sort_by(browser, 1) == ["4", "3", "2", "1", "5"]
    assert sort_by(browser, 2) == ["1", "2", "3", "4", "5"]
    assert sort_by(browser, 2) == ["4", "3", "2", "1", "5"]
    assert browser.evaluate("document.querySelectorAll('#points th[aria-sort]').length") == 1


def test_typing_filters_rows_says_how_many_and_outlives_sorting(browser, page):
    browser.open(page)
    browser.evaluate("document.querySelector('[data-filters=points]').focus()")
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.call("Input.insertText", text="POINT 0.7")
    assert browser.evaluate(NAMES) == ["point 2", "point 3"]
    assert browser.evaluate("document.querySelector('.filter output').textContent") == "2 of 5 rows"
    sort_by(browser, 2)
    assert sort_by(browser, 2) == ["3", "2"]
    browser.evaluate(
        "const f = document.querySelector('.filter input'); f.value = ''; f.dispatchEvent(new Event('input'))"
    )
    assert len(browser.evaluate(NAMES)) == 5
    assert browser.evaluate("document.querySelector('.filter output').textContent") == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser, page, scheme):
    """Every text that somebody reads has the contrast that WCAG 2.1 asks of small print."""
    browser.open(page, scheme=scheme)
    ratios = browser.evaluate(
        """(() => {
          const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
          const bright = (c) => c.slice(0, 3).map(channel).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
          const parse = (c) => c.match(/[\\d.]+/g).map(Number);
          const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
            if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
          const found = [];
          for (const e of document.querySelectorAll(
              'p, li, td, th, dt, dd, h1, h2, h3, small, strong, a, span, figcaption, summary, label, input')) {
            if (e.closest('.js-plotly-plot') || !e.textContent.trim() && e.tagName !== 'INPUT') continue;
            const [a, b] = [bright(parse(getComputedStyle(e).color)), bright(behind(e))].sort((x, y) => y - x);
            found.push([(a + 0.05) / (b + 0.05), e.tagName + '.' + e.className]);
          }
          return found; })()"""
    )
    assert len(ratios) > 60
    assert min(ratios)[0] >= 4.5, min(ratios)


def test_what_a_result_smuggles_in_does_not_run(browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render_document(hostile_document(HOSTILE)), encoding="utf-8")
    browser.open(path, width=390)
    assert browser.evaluate("typeof window.broken") == "undefined"
    assert browser.requests() == [path.resolve().as_uri()]
    assert browser.complaints() == []
