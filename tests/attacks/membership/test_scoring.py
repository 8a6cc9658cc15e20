import numpy as np
import pytest
from scipy.stats import norm

from attacks import AttackError, score
from attacks.membership import MembershipGuess, MembershipTruth, separation
from attacks.membership.scoring import judge


def test_gaussian_scores_give_the_area_that_theory_gives() -> None:
    rng = np.random.default_rng(0)
    found = separation(rng.normal(1, 1, 4000), rng.normal(0, 1, 4000))
    assert found.auc == pytest.approx(norm.cdf(1 / 2**0.5), abs=0.02)
    assert found.tpr_at_1_percent == pytest.approx(norm.sf(norm.isf(0.01) - 1), abs=0.02)
    assert found.advantage == pytest.approx(2 * norm.cdf(0.5) - 1, abs=0.03)


def test_ties_count_half_and_separation_is_complete_or_none() -> None:
    same = separation(np.ones(5), np.ones(7))
    apart = separation(np.ones(5), np.zeros(7))
    assert (same.auc, same.advantage) == (0.5, 0.0)
    assert (apart.auc, apart.tpr_at_01_percent, apart.advantage) == (1.0, 1.0, 1.0)


def test_a_dent_in_the_curve_is_not_filled() -> None:
    """The trap: the area under the convex hull is not the area under the curve."""
    members, others = np.array([3.0, 3.0, 1.0, 1.0]), np.array([4.0, 4.0, 2.0, 0.0])
    assert separation(members, others).auc == pytest.approx(6 / 16)


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(AttackError):
        separation(np.zeros(0), np.ones(3))


def test_the_score_carries_interval_and_null_control() -> None:
    rng = np.random.default_rng(1)
    groups = np.split(np.arange(300), 3)
    truth = MembershipTruth(members=groups[0], non_members=groups[1], control=groups[2], rng=rng)
    scores = rng.normal(size=300) + np.repeat([2.0, 0.0, 0.0], 100)
    found = score(MembershipGuess(scores=scores), truth)
    assert found.metric == "AUC"
    assert 0.85 < found.low <= found.value <= found.high <= 1.0
    assert 0.4 < found.null < 0.6
    assert "100 members, 100 non-members" in found.remarks


def test_nobody_named_is_no_proof_that_nobody_can_be() -> None:
    """No resample of twenty members below every other has one above: the bootstrap alone would say 0 to 0."""
    groups = np.split(np.arange(60), 3)
    truth = MembershipTruth(members=groups[0], non_members=groups[1], control=groups[2], rng=np.random.default_rng(2))
    for member, value, low, high in ((-1.0, 0.0, 0.0, 0.161), (1.0, 1.0, 0.839, 1.0)):
        found, curve = judge(MembershipGuess(scores=np.repeat([member, 0.0, 0.0], 20)), truth)
        for rate in (curve.tpr_at_1_percent, curve.tpr_at_01_percent):
            assert (rate.value, rate.low, rate.high) == pytest.approx((value, low, high), abs=1e-3)
        assert f"TPR at 1 % FPR {value:.3f} [{low:.3f}, {high:.3f}]" in found.remarks
