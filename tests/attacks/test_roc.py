import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks import AttackError
from attacks.membership import separation
from attacks.roc import advantage, area, corners, curve_of, roc, tpr_at


def test_roc_known_answers() -> None:
    curve = roc([3.0, 2.0, 0.0], [1.0, 0.0])
    assert area(curve) == pytest.approx((2 + 2 + 0.5) / 6)
    assert tpr_at(curve, fpr=0.0) == pytest.approx(2 / 3)
    assert tpr_at(curve, fpr=0.99) == pytest.approx(2 / 3)
    assert tpr_at(curve, fpr=1.0) == 1.0
    assert advantage(curve) == pytest.approx(2 / 3)
    assert not curve.true_positive_rate.flags.writeable
    with pytest.raises(AttackError, match="fpr"):
        tpr_at(curve, fpr=1.5)


scores = st.lists(st.integers(-5, 5), min_size=1, max_size=12)


@given(inside=scores, outside=scores)
def test_area_is_the_chance_of_a_higher_score(inside: list[int], outside: list[int]) -> None:
    wins = np.sign(np.subtract.outer(inside, outside)) / 2 + 0.5
    curve = roc(inside, outside)
    assert area(curve) == pytest.approx(wins.mean())
    assert 0 <= tpr_at(curve, fpr=0.01) <= 1
    assert advantage(curve) >= 0


def test_corners_hold_the_whole_curve_as_counts() -> None:
    inside, outside = [5.0, 4.0, 3.0, 1.0, 1.0], [2.0, 1.0, 0.0, 0.0]
    curve = roc(inside, outside)
    true, false = corners(curve, members=5, non_members=4)
    assert (true[0], false[0], true[-1], false[-1]) == (0, 0, 5, 4)
    assert (3, 0) in zip(true, false, strict=True)
    assert len(true) < len(curve.true_positive_rate), "a straight rise needs its ends only"
    again = curve_of(true, false)
    assert area(again) == pytest.approx(area(curve))
    assert advantage(again) == pytest.approx(advantage(curve))
    assert tpr_at(again, fpr=0.01) == tpr_at(curve, fpr=0.01)


def test_a_searched_advantage_is_above_zero_where_nothing_is() -> None:
    """The trap: resampling or searching alone makes an advantage; hence the null control beside every score."""
    rng = np.random.default_rng(0)
    found = [separation(rng.normal(size=100), rng.normal(size=100)) for _ in range(50)]
    assert np.mean([one.advantage for one in found]) > 0.05
    assert abs(np.mean([one.auc for one in found]) - 0.5) < 0.03


@pytest.mark.parametrize(("inside", "outside"), [([], [1.0]), ([1.0], []), ([np.inf], [1.0]), ([[1.0]], [1.0])])
def test_roc_refuses(inside: list[float], outside: list[float]) -> None:
    with pytest.raises(AttackError, match="members"):
        roc(inside, outside)
