"""ROC curves on the page: drawn from counts, read off in a table, kept as pictures under safe names."""

import numpy as np
import pytest
from pydantic import ValidationError

from attacks.membership.scoring import MembershipGuess, MembershipTruth, judge
from evaluations.report.elements import charts_of
from evaluations.report.roc_charts import guessed_rate, roc_blocks, roc_stills
from evaluations.report.stills import stills
from fedpeft_secure.result import AttackRow, RocRecord


def record(shift: float = 1.0) -> RocRecord:
    rng = np.random.default_rng(0)
    groups = np.split(np.arange(120), 3)
    scores = rng.normal(size=120) + shift * (np.arange(120) < 40)
    truth = MembershipTruth(members=groups[0], non_members=groups[1], control=groups[2], rng=rng)
    return judge(MembershipGuess(scores=scores), truth)[1]


def row(attack: str, *, replay: bool = False, roc: RocRecord | None = None) -> AttackRow:
    view = "individual" if replay else "sum-dp"
    return AttackRow(
        attack=attack, view=view, replay=replay, metric="AUC", value=0.6, low=0.5, high=0.7, null=0.5, roc=roc
    )


def test_each_attack_has_a_chart_with_a_line_for_each_view():
    found = record()
    rows = (row("lira", roc=found), row("lira", replay=True, roc=found), row("membership", roc=found), row("span"))
    prose, multiples, table = roc_blocks(rows)
    lira, membership = charts_of((prose, multiples, table))
    assert [trace.get("name") for trace in lira.figure["data"]] == [None, "each message (replay)", "sum only, DP"]
    assert [trace["line"]["dash"] for trace in lira.figure["data"][1:]] == ["2px,2px", "solid"]
    assert (lira.caption, membership.caption, len(membership.figure["data"])) == ("lira", "membership", 2)
    assert f"TPR {found.tpr_at_1_percent.value:.3f} at 1 % FPR" in lira.label
    line = lira.figure["data"][1]
    assert (line["x"][0], line["y"][0], line["x"][-1], line["y"][-1]) == (1e-3, 1e-3, 1.0, 1.0)
    assert len(line["x"]) == len(found.true_positives) > 10
    assert [cells[0].text for cells in table.rows] == ["lira", "lira", "membership"]
    assert [cell.text for cell in table.rows[0]][-1] == "40 / 40"
    interval = f"{found.tpr_at_1_percent.low:.3f} to {found.tpr_at_1_percent.high:.3f}"
    assert table.rows[0][3].note == f"{interval} (≤ {guessed_rate(found, at=0.01):.3f})"
    assert table.rows[0][3].tone == "plain", "0.1 is what guessing reaches too"
    assert roc_blocks((row("lira", roc=record(shift=2.0)),))[2].rows[0][3].tone == "warn"


@pytest.mark.parametrize(("members", "others"), [(96, 96), (40, 300)])
def test_guessing_exceeds_its_rate_in_at_most_one_of_twenty_cases(members: int, others: int) -> None:
    """By trial: 20,000 random orders."""
    counts = {"true_positives": (0, members), "false_positives": (0, others)}
    limit = guessed_rate(record().model_copy(update={"members": members, "non_members": others, **counts}), at=0.01)
    rng, allowed = np.random.default_rng(0), others // 100
    scores = rng.random((20_000, members + others))
    threshold = np.sort(scores[:, members:], axis=1)[:, -1 - allowed]
    rates = (scores[:, :members] > threshold[:, None]).mean(axis=1)
    assert (rates > limit).mean() <= 0.055
    assert (rates >= limit).mean() > 0.04, "and no lower limit would do"


def test_nothing_is_shown_without_a_curve():
    assert roc_blocks((row("membership"),)) == ()
    assert roc_stills((row("membership"),)) == {}


def test_pictures_have_safe_names_whatever_the_attack_is_called():
    found = stills(roc_stills((row("../../etc/Pass wd", roc=record()), row("lira-offline", roc=record()))))
    assert sorted(found) == [
        f"roc-{name}.{kind}" for name in ("etc-pass-wd", "lira-offline") for kind in ("png", "svg")
    ]
    assert found["roc-lira-offline.png"].startswith(b"\x89PNG")


def test_a_record_that_is_no_curve_is_refused():
    good = record()
    for change in (
        {"true_positives": good.true_positives[:-1]},
        {"false_positives": tuple(reversed(good.false_positives))},
        {"true_positives": (0, good.members), "false_positives": (0, 1, good.non_members)},
    ):
        with pytest.raises(ValidationError, match="ROC curve"):
            RocRecord.model_validate({**good.model_dump(), **change})
