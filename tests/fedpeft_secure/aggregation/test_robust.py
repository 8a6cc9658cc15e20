import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpeft_secure.aggregation.robust import RobustRule, fewest_groups, robust_mean, trimmed_groups

RULES: tuple[RobustRule, ...] = ("median", "trimmed_mean")


def test_medians_and_trimmed_means_of_small_cases() -> None:
    means = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 6.0], [900.0, -9.0]])
    assert robust_mean(means, rule="off", trimmed_share=0.25) == pytest.approx(means.mean(axis=0))
    assert robust_mean(means, rule="median", trimmed_share=0.25) == pytest.approx([3.0, 0.0])
    assert robust_mean(means, rule="trimmed_mean", trimmed_share=0.25) == pytest.approx([3.0, 0.0])
    nine = np.arange(9.0)[::-1, None]
    assert robust_mean(nine, rule="trimmed_mean", trimmed_share=0.25) == pytest.approx([4.0])
    assert robust_mean(nine**2, rule="trimmed_mean", trimmed_share=0.4) == pytest.approx([(9 + 16 + 25) / 3])


@pytest.mark.parametrize("rule", RULES)
@given(groups=st.integers(3, 12), seed=st.integers(0, 1000), lie=st.floats(-1e6, 1e6))
def test_few_lying_groups_never_move_a_value_beyond_what_honest_ones_say(
    rule: RobustRule, groups: int, seed: int, lie: float
) -> None:
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((groups, 5))
    most = (groups - 1) // 2 if rule == "median" else trimmed_groups(groups, 0.25)
    liars = rng.permutation(groups)[:most]
    means[liars] = lie * rng.choice([-1.0, 1.0], size=(len(liars), 5))
    honest = np.delete(means, liars, axis=0)
    found = robust_mean(means, rule=rule, trimmed_share=0.25)
    assert (found >= honest.min(axis=0) - 1e-12).all()
    assert (found <= honest.max(axis=0) + 1e-12).all()


@pytest.mark.parametrize("rule", RULES)
def test_one_liar_more_is_one_too_many(rule: RobustRule) -> None:
    means = np.zeros((5, 1))
    means[: 3 if rule == "median" else 2] = 1e6
    assert robust_mean(means, rule=rule, trimmed_share=0.25)[0] > 1e5


def test_a_group_is_left_out_at_either_end_and_one_always_stays() -> None:
    for groups in range(3, 40):
        for share in (1e-6, 0.25, 0.499):
            cut = trimmed_groups(groups, share)
            assert cut >= 1
            assert 2 * cut < groups


def test_most_groups_must_have_a_sum() -> None:
    assert [fewest_groups(groups) for groups in (3, 4, 5, 6, 10)] == [3, 3, 3, 4, 6]
