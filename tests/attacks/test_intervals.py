import numpy as np
import pytest

from attacks import AttackError
from attacks.base import Floats
from attacks.intervals import bootstrap_two, wilson


def test_wilson_known_answers() -> None:
    assert wilson(5, 5) == pytest.approx((0.5655, 1.0), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_share(successes: int, trials: int) -> None:
    with pytest.raises(AttackError):
        wilson(successes, trials)


def difference(left: Floats, right: Floats) -> Floats:
    return np.array([left.mean() - right.mean()])


def test_the_bootstrap_covers_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(100):
        low, high = bootstrap_two(difference, rng.normal(1, 1, 80), rng.normal(0, 2, 80), rng=rng, resamples=200)
        covered += bool(low[0] <= 1 <= high[0])
    assert 86 <= covered < 100
