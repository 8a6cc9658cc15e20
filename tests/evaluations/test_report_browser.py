"""The report as a browser shows it: quiet, drawn, narrow enough for a phone, and deaf to what a run smuggles in."""

import pytest

from evaluations.report import write_report
from fedpeft_secure.result import RocRecord


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (375, "light")])
def test_opens_from_a_file_without_a_complaint_or_a_request(browser, default_report, width, scheme):
    browser.open(default_report, width=width, scheme=scheme)
    assert browser.complaints() == []
    assert browser.requests() == [default_report.resolve().as_uri()]


def test_every_chart_is_drawn(browser, default_report):
    browser.open(default_report)
    drawn = browser.evaluate(
        "[...document.querySelectorAll('.chart')].map(c => [c.id, c.querySelectorAll('.point').length,"
        " c.getBoundingClientRect().width])"
    )
    assert [name for name, _, _ in drawn] == [
        "chart-accuracy", "chart-loss", "chart-privacy", "chart-attack-1", "chart-attack-2", "chart-attack-3",
        "chart-phases",
    ]  # fmt: skip
    assert all(points >= 5 and width > 200 for _, points, width in drawn)


def test_roc_curves_are_drawn_and_their_rates_sort(browser, make_run, attack_rows):
    curve = RocRecord(
        members=40, non_members=40, true_positives=(0, 6, 20, 40), false_positives=(0, 0, 9, 40),
        tpr_at_1_percent={"value": 0.15, "low": 0.05, "high": 0.3}, advantage_null=0.1,
        tpr_at_01_percent={"value": 0.15, "low": 0.05, "high": 0.3},
        advantage={"value": 0.3, "low": 0.2, "high": 0.4},
    )  # fmt: skip
    rows = tuple(row.model_copy(update={"roc": curve}) if row.metric == "AUC" else row for row in attack_rows)
    browser.open(write_report(make_run(attacks=rows)), width=375)
    assert browser.complaints() == []
    assert browser.evaluate("document.querySelectorAll('#chart-roc-1 .scatterlayer .js-line').length") == 5
    assert browser.evaluate("document.documentElement.scrollWidth") == 375
    assert browser.evaluate("document.querySelectorAll('#roc-rows tbody tr').length") == 4


def test_a_phone_scrolls_down_only(browser, default_report):
    browser.open(default_report, width=375, height=800)
    assert browser.evaluate("document.documentElement.scrollWidth") == 375
    browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.evaluate("document.documentElement.scrollWidth") == 375
    wide = browser.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(b => b.scrollWidth > b.clientWidth).length"
    )
    assert wide >= 2
    assert browser.evaluate("Math.max(...[...document.querySelectorAll('.chart svg')].map(s => s.clientWidth))") <= 375


def test_long_names_do_not_widen_a_phone(browser, make_run, base_result):
    setup = base_result.setup.model_copy(update={"model": "organisation/" + "m" * 120, "strategy_reason": "r" * 200})
    browser.open(write_report(make_run(setup=setup, config="a" * 400)), width=375)
    assert browser.evaluate("document.documentElement.scrollWidth") == 375


def test_charts_follow_the_colour_scheme(browser, default_report):
    colour = "document.querySelector('#chart-accuracy .xtick text').style.fill"
    browser.open(default_report, scheme="light")
    light = browser.evaluate(colour)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    browser.evaluate("new Promise(done => setTimeout(done, 200))")
    assert (light, browser.evaluate(colour)) == ("rgb(27, 31, 35)", "rgb(231, 229, 224)")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert browser.complaints() == []


def test_tables_sort_by_number_and_by_name(browser, default_report):
    browser.open(default_report)
    column = (
        "(index => [...document.querySelectorAll('#privacy tbody tr')].map(r => r.cells[index].textContent.trim()))"
    )
    press = "document.querySelectorAll('#privacy thead button')"
    assert browser.evaluate(f"{column}(0)")[3] == "client-3"
    browser.evaluate(f"{press}[1].click()")
    assert browser.evaluate(f"{column}(1)")[0] == "1.996"
    assert browser.evaluate(f"{press}[1].closest('th').getAttribute('aria-sort')") == "ascending"
    browser.evaluate(f"{press}[1].click()")
    assert browser.evaluate(f"{column}(1)")[-1] == "1.996"
    browser.evaluate(f"{press}[0].click()")
    assert browser.evaluate(f"{column}(0)") == [f"client-{index}" for index in range(8)]
    assert browser.evaluate("document.querySelectorAll('#privacy th[aria-sort]').length") == 1


def test_ten_comes_after_nine(browser, default_report):
    browser.open(default_report)
    browser.evaluate("for (const _ of [1, 2]) document.querySelector('#setup thead button').click()")
    rounds = browser.evaluate("[...document.querySelectorAll('#setup tbody tr')].map(r => r.cells[0].textContent)")
    assert rounds == [str(index) for index in range(24, 0, -1)]


def test_absent_values_sort_after_the_rest(browser, make_run, attack_rows):
    missing = attack_rows[0].model_copy(update={"value": None, "low": None, "high": None})
    browser.open(write_report(make_run(attacks=(missing, *attack_rows[1:4]))))
    browser.evaluate("document.querySelectorAll('#attacks thead button')[4].click()")
    values = "[...document.querySelectorAll('#attacks tbody tr')].map(r => r.cells[4].textContent.trim())"
    assert browser.evaluate(values) == ["0.000", "0.000", "0.944", "–"]


def test_the_keyboard_reaches_headers_and_shows_where_it_is(browser, default_report):
    browser.open(default_report)
    for _ in range(2):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        browser.call("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.evaluate("document.activeElement.textContent") == "Utility"
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.evaluate("document.querySelector('#privacy thead button').focus()")
    browser.call(
        "Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
    )
    assert browser.evaluate("document.querySelector('#privacy th').getAttribute('aria-sort')") == "ascending"


def test_smuggled_scripts_do_not_run(browser, make_run, base_result):
    hostile = '</script><script>window.broken=1</script><img src="https://example.org/x" onerror="window.broken=1">'
    row = base_result.attacks[0]
    pair = row.texts[0].model_copy(update={"truth": hostile, "recovered": hostile})
    setup = base_result.setup.model_copy(update={"model": hostile, "warnings": (hostile,)})
    hostile_row = row.model_copy(update={"attack": hostile, "metric": hostile, "note": hostile, "texts": (pair,)})
    compute = base_result.compute.model_copy(update={"seconds": {hostile: 1.0, "train": 2.0}})
    report = write_report(make_run(attacks=(hostile_row,), setup=setup, compute=compute, config=hostile))
    browser.open(report)
    assert browser.evaluate("typeof window.broken") == "undefined"
    assert browser.evaluate("document.images.length") == 0
    assert browser.requests() == [report.resolve().as_uri()]
    assert browser.complaints() == []


def test_the_policy_stops_a_script_that_got_in_all_the_same(browser, default_report, tmp_path):
    source = default_report.read_text(encoding="utf-8").replace("<h1>", "<script>window.broken=1</script><h1>", 1)
    report = tmp_path / "report.html"
    report.write_text(source, encoding="utf-8")
    browser.open(report)
    assert browser.evaluate("typeof window.broken") == "undefined"
    assert any("Content Security Policy" in str(complaint) for complaint in browser.complaints())


def test_without_privacy_or_attacks_nothing_breaks(browser, make_run, not_private):
    browser.open(write_report(make_run(privacy=not_private, attacks=())))
    assert browser.complaints() == []
    assert "NOT PRIVATE" in browser.evaluate("document.querySelector('.answers').innerText")
