"""The page of an audit: both bounds beside each other, which may fail a run, and a verdict that is not overlooked."""

import re
from pathlib import Path

import pytest

from attacks.audit import AuditResult
from attacks.audit.result import AuditBound, Separated, StepCount
from evaluations.report import write_audit_page
from evaluations.report.audit_page import audit_document
from tests.evaluations.conftest import opened_browser


def result(**changes: object) -> AuditResult:
    bounds = (
        AuditBound(method="one-run, f-DP of the mechanism", epsilon=0.23, alpha=1e-3 / 3, may_fail=True),
        AuditBound(method="one-run, Steinke", epsilon=0.0, alpha=1e-3 / 3, may_fail=True),
        AuditBound(method="Clopper-Pearson", epsilon=0.1, alpha=1e-3 / 3, may_fail=True),
        AuditBound(method="GDP estimate", epsilon=1.2, alpha=None, may_fail=False),
    )
    found = AuditResult(
        unit="example", relation="add_remove", accountant="prv", delta=1e-5, noise="simulation",
        audited="all messages of client-1, whose examples are gradient canaries", noise_multiplier=3.1,
        sample_rate=0.15, steps=StepCount(taken=24, charged=24), canaries=4000, included=2011, epsilon_budget=1.0,
        epsilon_upper=0.998, epsilon_lower=0.23, epsilon_estimate=1.2, alpha=1e-3, bounds=bounds,
        separation=Separated(auc=0.57, low=0.55, high=0.59, null=0.5), problems=(), seconds=15.0, seed=0,
    )  # fmt: skip
    return found.model_copy(update=changes)


def test_an_estimate_above_the_ledger_fails_nothing():
    page = audit_document(result(), "seed = 0", origin="audit")
    assert [answer.value.replace("\u00a0", " ") for answer in page.answers] == [
        "ε ≤ 1.00", "ε ≥ 0.23", "24 of 24", "Nothing found",
    ]  # fmt: skip
    assert {answer.tone for answer in page.answers} == {"plain"}
    assert [notice.tone for notice in page.notices] == ["warn"]
    _, table = page.sections[0].blocks
    assert [cells[3].text for cells in table.rows] == ["upper bound", *["lower bound"] * 3, "estimate"]
    assert table.rows[4][1].text == "≈ 1.200"
    assert "Descriptive" in table.rows[4][4].text
    assert [cells[2].text for cells in table.rows] == ["–", "0.00033", "0.00033", "0.00033", "–"]


def test_a_bound_above_the_ledger_is_shown_wherever_somebody_looks():
    bounds = (AuditBound(method="Clopper-Pearson", epsilon=1.7, alpha=1e-3, may_fail=True), result().bounds[3])
    failed = result(
        bounds=bounds, epsilon_lower=1.7, problems=("Clopper-Pearson proves ε ≥ 1.7",), noise="secure",
        steps=StepCount(taken=48.5, charged=24),
    )  # fmt: skip
    page = audit_document(failed, "", origin="audit")
    assert [(notice.title, notice.tone) for notice in page.notices] == [("The audit failed", "bad")]
    assert [answer.tone for answer in page.answers] == ["plain", "bad", "bad", "bad"]
    assert page.answers[2].value == "48.50 of 24"
    _, table = page.sections[0].blocks
    assert table.rows[1][4].text == "Contradicts the ledger"
    assert page.sections[1].blocks[0].blocks[0].pairs[1] == ("Charged", "24 (DIFFERS)")


@pytest.mark.slow
def test_a_browser_shows_it_quietly_on_a_phone_too(tmp_path: Path):
    (tmp_path / "config.toml").write_text("seed = 0\n# <b>\n")
    path = write_audit_page(tmp_path, result())
    assert re.search(r"seed = 0\n# &lt;b&gt;", path.read_text("utf-8"))
    with opened_browser(tmp_path / "profile") as browser:
        browser.open(path, width=375)
        assert browser.complaints() == []
        assert browser.requests() == [path.resolve().as_uri()]
        assert browser.evaluate("document.documentElement.scrollWidth") == 375
        assert browser.evaluate("document.querySelectorAll('#chart-bounds .point').length") == 4
