import html
import re
from dataclasses import replace

import pytest

from evaluations.report import render_document
from evaluations.report.elements import Section
from tests.evaluations.documents import chart, document, hostile_document
from tests.evaluations.test_report_page import HOSTILE, Elements, visible


def test_every_block_is_shown() -> None:
    seen = visible(render_document(document()))
    for words in (
        "Privacy–utility sweep", "minilm on rotten_tomatoes", "12 cells: privacy.epsilon", "2 cells failed. They are",
        "0.750 accuracy", "Nothing lies above this line.", "span", "membership", "Small ones.", "point 4", "∞",
        "3 seeds", "0.590 to 0.630", "A bound.", "2.13", "rank = 0: too small", "seed = 0", "from sweep-1",
        "loads nothing",
    ):  # fmt: skip
        assert words in seen, words


def test_bad_news_stands_above_the_answers_and_the_rest_below() -> None:
    seen = visible(render_document(document()))
    assert seen.index("2 cells failed.") < seen.index("How good") < seen.index("Simulation.")


def test_sections_are_linked_and_charts_have_words() -> None:
    found = Elements(render_document(document()))
    addresses = [attributes["href"] for attributes in found.all("a")]
    assert addresses == ["#content", "#frontier", "#meaning"]
    assert {"frontier", "meaning"} <= {attributes.get("id") for attributes in found.all("section")}
    charts = [attributes for attributes in found.all("div") if attributes.get("class") == "chart"]
    assert len(charts) == 4
    assert all(
        attributes["role"] == "img" and attributes["aria-label"].startswith("Line chart") for attributes in charts
    )


def test_small_tables_have_no_filter() -> None:
    page = document()
    (table,) = [block for block in page.sections[0].blocks if block.kind == "table"]
    short = replace(table, rows=table.rows[:4])
    sections = (Section(name="s", title="s", link="s", blocks=(short,)),)
    assert len(Elements(render_document(page)).all("input")) == 1
    assert Elements(render_document(replace(page, sections=sections))).all("input") == []


def test_hostile_words_stay_text() -> None:
    source = render_document(hostile_document(HOSTILE))
    found = Elements(source)
    assert len(found.all("script")) == 3
    assert found.all("img") == []
    assert "<script>window.broken" not in source
    assert "{{7*7}}" in html.unescape(source)
    assert visible(source).count("window.broken=1") > 20


def test_two_charts_of_one_name_are_refused() -> None:
    twice = Section(name="s", title="s", link="s", blocks=(chart("one"), chart("one")))
    with pytest.raises(ValueError, match="two charts are called 'one'"):
        render_document(replace(document(), sections=(twice,)))


def test_the_title_names_the_page() -> None:
    title = re.search(r"<title>(.*?)</title>", render_document(document()))
    assert title is not None
    assert title.group(1) == "minilm – fedpeft-secure report"
