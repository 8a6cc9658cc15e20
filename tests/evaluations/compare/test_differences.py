import numpy as np
import pytest
from scipy.stats import norm

from evaluations.compare.differences import interval

RNG = np.random.default_rng(5)


def test_the_mean_lies_inside() -> None:
    values = RNG.random((3, 400))
    found = interval(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.low < found.mean < found.high


def test_no_difference_has_no_width() -> None:
    found = interval(np.zeros((3, 50)))
    assert (found.low, found.mean, found.high) == (0.0, 0.0, 0.0)


def test_with_one_seed_it_is_the_usual_interval_of_a_share() -> None:
    values = (np.arange(1600) < 1280).astype(float)[None]
    found = interval(values)
    half = norm.ppf(0.975) * (0.8 * 0.2 / 1600) ** 0.5
    assert found.low == pytest.approx(0.8 - half, abs=0.003)
    assert found.high == pytest.approx(0.8 + half, abs=0.003)


def test_seeds_that_disagree_widen_it_however_many_examples_there_are() -> None:
    agreeing, split = np.full((4, 2000), 0.5), np.repeat([[0.3], [0.7], [0.4], [0.6]], 2000, axis=1)
    assert interval(agreeing).high - interval(agreeing).low == 0
    assert interval(split).high - interval(split).low > 0.2


def test_more_comparisons_make_it_wider() -> None:
    values = RNG.random((3, 300))
    one, many = interval(values), interval(values, comparisons=20)
    assert many.low < one.low
    assert many.high > one.high


def test_it_holds_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        truth = 0.1 + 0.05 * rng.standard_normal((5, 1)) + 0.3 * rng.standard_normal((1, 100))
        found = interval(truth + 0.2 * rng.standard_normal((5, 100)), seed=trial)
        held += found.low <= 0.1 <= found.high
    assert 0.85 <= held / 100 <= 1.0


@pytest.mark.parametrize(("seeds", "least", "most"), [(3, 0.15, 0.35), (10, 0.02, 0.12)])
def test_where_seeds_are_most_of_the_luck_few_of_them_make_it_too_narrow(seeds: int, least: float, most: float) -> None:
    """What the page says about it: no more than 5 % would miss if it were not so."""
    missed = 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        found = interval(0.03 * rng.standard_normal((seeds, 1)) + 0.003 * rng.standard_normal((seeds, 50)), seed=trial)
        missed += not found.low <= 0 <= found.high
    assert least <= missed / 200 <= most


@pytest.mark.parametrize("values", [np.zeros(4), np.zeros((0, 4)), np.zeros((4, 0))])
def test_there_must_be_values(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="give \\(seeds, examples\\), at least one of each"):
        interval(values)
