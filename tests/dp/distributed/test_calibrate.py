"""The printed ε holds at the guaranteed honest survivors, nearly all of it is used, and sums do not wrap."""

import numpy as np
import pytest

import dp
from dp.distributed.calibrate import WRAP_DEVIATIONS, Cohort, calibrate
from dp.errors import InvalidParameter, UnreachableBudget

SETTINGS = [
    ("discrete_gaussian", "prv"),
    ("discrete_gaussian", "rdp"),
    ("discrete_gaussian", "pld"),
    ("skellam", "rdp"),
]
COHORT = Cohort(clients=10, honest=6)


def planned(family="discrete_gaussian", accountant="prv", **changes):
    terms = {"epsilon": 8.0, "delta": 1e-5, "steps": 24, "cohort": COHORT, "dim": 5000, "bits": 16} | changes
    return calibrate(family=family, accountant=accountant, **terms)


@pytest.mark.parametrize(("family", "accountant"), SETTINGS)
def test_epsilon_is_met_at_the_smallest_survivor_set_and_nearly_used(family, accountant):
    plan = planned(family, accountant)
    event = plan.event(steps=24)
    assert event.shares == COHORT.honest
    spent = dp.compose((event,), delta=1e-5, accountant=accountant)
    assert 0.98 * 8.0 < spent <= 8.0
    # One share fewer than guaranteed would break the promise; more than guaranteed only helps.
    fewer = dp.compose((plan.event(steps=24, shares=5),), delta=1e-5, accountant=accountant)
    more = dp.compose((plan.event(steps=24, shares=10),), delta=1e-5, accountant=accountant)
    assert more < spent <= 8.0 < fewer


@pytest.mark.parametrize(("family", "accountant"), SETTINGS[::3])
def test_noise_at_16_bits_is_within_two_percent_of_central(family, accountant):
    """At equal guaranteed honest survivors: the distributed sum's variance on a coordinate against one Gaussian's."""
    for dim in (5000, 100_000):
        plan = planned(family, accountant, dim=dim)
        central = dp.noise_multiplier(epsilon=8.0, delta=1e-5, sample_rate=1.0, steps=24, accountant=accountant)
        assert 1.0 <= (plan.noise_multiplier / central) ** 2 < 1.02


def test_the_sum_fits_the_modulus():
    plan = planned()
    assert plan.wrap_deviations == pytest.approx(WRAP_DEVIATIONS, rel=1e-5)
    assert plan.wrap_probability < 1e-5
    wide = planned(bits=24)
    assert wide.wrap_deviations > 20
    assert wide.scale > plan.scale  # a wider modulus buys a finer scale, and so less noise
    assert wide.noise_multiplier < plan.noise_multiplier


def test_shares_shrink_with_the_number_of_honest_survivors():
    few, many = planned(), planned(cohort=Cohort(clients=10, honest=9))
    assert few.share_variance / few.scale**2 == pytest.approx(1.5 * many.share_variance / many.scale**2, rel=0.01)
    assert few.noise_multiplier == pytest.approx(many.noise_multiplier, rel=0.01)


def test_what_16_bits_cannot_hold_is_refused():
    with pytest.raises(UnreachableBudget, match="bits"):
        planned(epsilon=0.05, dim=100_000)


@pytest.mark.parametrize(
    "changes", [{"family": "laplace"}, {"bits": 3}, {"bits": 63}, {"epsilon": float("inf")}, {"delta": 0.0}]
)
def test_bad_arguments_are_refused(changes):
    with pytest.raises(InvalidParameter):
        planned(**changes)


@pytest.mark.parametrize("cohort", [(5, 0), (5, 6)])
def test_noise_is_never_left_to_more_clients_than_there_are(cohort):
    with pytest.raises(InvalidParameter, match="honest"):
        Cohort(clients=cohort[0], honest=cohort[1])


def test_the_worst_signal_is_in_the_range():
    """All clients agree: the deviation that the range is planned for covers the rotated sum."""
    from dp.distributed.calibrate import sum_deviation
    from dp.distributed.hadamard import Rotation

    plan, rotation = planned(dim=3000), Rotation(dim=3000, seed=b"x")
    vector = np.zeros(3000)
    vector[1500] = 10 * plan.scale
    assert np.abs(rotation.forward(vector)).max() < 6 * sum_deviation(Cohort(clients=10, honest=1), 3000, plan.scale, 0)
