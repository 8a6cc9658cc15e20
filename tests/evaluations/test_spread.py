import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from evaluations.spread import spread


def test_it_is_the_interval_of_the_t_test() -> None:
    values = [0.71, 0.74, 0.69]
    ends = ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = spread(values)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert (found.mean, found.n) == (pytest.approx(0.71333, abs=1e-5), 3)
    assert found.half_width == pytest.approx((ends.high - ends.low) / 2)


def test_one_seed_has_no_interval() -> None:
    found = spread([0.7])
    assert (found.mean, found.low, found.high, found.half_width, found.n) == (0.7, None, None, None, 1)


def test_it_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = [found.low <= 0.5 <= found.high for found in (spread(rng.normal(0.5, 0.1, 3)) for _ in range(2000))]
    assert 0.935 <= np.mean(held) <= 0.965


@pytest.mark.parametrize("values", [[], [math.nan], [0.5, math.inf]])
def test_values_must_be_there_and_finite(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite values, at least one"):
        spread(values)
