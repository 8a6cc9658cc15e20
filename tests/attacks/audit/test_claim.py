import numpy as np
import pytest
from scipy.special import ndtr, ndtri

import dp
from attacks import AttackError
from attacks.audit.claim import Claim, Curve, least_noise_refuted


def claim_of(noise_multiplier: float, *, sample_rate: float = 1.0, steps: int = 1) -> Claim:
    event = dp.SampledGaussian(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=steps)
    epsilon = dp.compose((event,), delta=1e-5)
    spent = dp.PrivacySpent(epsilon=epsilon, delta=1e-5, unit="example", relation="add_remove", accountant="prv")
    return Claim(events=(event,), spent=spent)


@pytest.mark.parametrize("right", [0.001, 0.05, 0.3, 0.6, 0.9, 0.999])
def test_the_curve_of_one_gaussian_is_known_and_never_overstated(right: float) -> None:
    found = claim_of(1.0).curve_with_noise(1.0).least_wrong(right)
    exact = float(ndtr(ndtri(right) - 1.0))
    assert found <= exact + 1e-9
    assert found == pytest.approx(exact, rel=0.05, abs=1e-4)


def test_more_noise_lifts_the_curve_and_lowers_epsilon() -> None:
    claim = claim_of(2.0, sample_rate=0.3, steps=5)
    curves = [claim.curve_with_noise(factor).least_wrong(0.4) for factor in (0.5, 1.0, 2.0)]
    assert curves == sorted(curves)
    assert claim.epsilon_with_noise(0.5) > claim.spent.epsilon > claim.epsilon_with_noise(2.0)
    assert claim.epsilon_with_noise(1.0) == claim.spent.epsilon


def test_sampling_is_part_of_the_curve() -> None:
    """A Gaussian with the same (ε, δ) leaks more in the middle: refuting it would not refute the sampled one."""
    sampled = claim_of(0.7, sample_rate=0.05, steps=10)
    sigma = dp.noise_multiplier(epsilon=sampled.spent.epsilon, delta=1e-5, sample_rate=1.0, steps=1)
    assert sampled.curve_with_noise(1.0).least_wrong(0.3) > 1.1 * claim_of(sigma).curve_with_noise(1.0).least_wrong(0.3)


def test_the_least_refuted_noise_is_found_by_bisection() -> None:
    claim = claim_of(1.0)
    reference = claim.curve_with_noise(0.8).least_wrong(0.5)
    found = least_noise_refuted(lambda curve: curve.least_wrong(0.5) > reference, claim)
    assert found == pytest.approx(0.8, rel=0.02)
    assert least_noise_refuted(lambda curve: False, claim) is None
    assert least_noise_refuted(lambda curve: True, claim) == pytest.approx(0.05, rel=0.02)
    with pytest.raises(AttackError):
        least_noise_refuted(lambda curve: True, claim, tolerance=0.0)


def test_no_privacy_allows_everything() -> None:
    assert Curve(deltas=np.ones(321)).least_wrong(0.9) == 0.0
