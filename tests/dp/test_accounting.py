"""Known answers, agreement of the three accountants, and calibration in both directions."""

import math
import time

import numpy as np
import pytest
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

import dp
from dp.accounting import deltas
from dp.errors import InvalidParameter, UnreachableBudget, UnsupportedAccounting
from dp.events import NonPrivate, PrivacyEvent, SampledGaussian

KNOWN = [  # (q, σ, T) → PLD, RDP, opacus' PRV at δ = 1e-5
    ((0.01, 1.0, 1000), {"pld": 1.828, "rdp": 2.101, "prv": 1.838}),
    ((0.02, 0.8, 500), {"pld": 4.668, "rdp": 5.370, "prv": 4.678}),
    ((0.1, 1.0, 100), {"pld": 7.047, "rdp": 7.899, "prv": 7.057}),
]


@pytest.mark.parametrize(("setting", "answers"), KNOWN)
@pytest.mark.parametrize("accountant", ["prv", "rdp", "pld"])
def test_known_answers(setting, answers, accountant):
    q, sigma, steps = setting
    got = dp.epsilon(noise_multiplier=sigma, sample_rate=q, steps=steps, delta=1e-5, accountant=accountant)
    assert got == pytest.approx(answers[accountant], rel=0.01)


GRID = [
    (8.0, 0.15, 24),
    (3.0, 0.15, 24),
    (1.0, 0.15, 24),
    (0.1, 0.15, 24),
    (8.0, 0.15, 1),
    (8.0, 1.0, 1),
    (50.0, 0.15, 24),
    (1.0, 0.01, 1000),
]


@pytest.mark.parametrize(("epsilon", "q", "steps"), GRID)
@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_calibration_round_trip_never_overspends(epsilon, q, steps, accountant):
    public = {"delta": 1e-5, "sample_rate": q, "steps": steps, "accountant": accountant}
    sigma = dp.noise_multiplier(epsilon=epsilon, **public)
    assert 0.99 * epsilon <= dp.epsilon(noise_multiplier=sigma, **public) <= epsilon


@pytest.mark.slow
def test_calibration_by_pld():
    sigma = dp.noise_multiplier(epsilon=8.0, delta=1e-5, sample_rate=0.15, steps=24, accountant="pld")
    spent = dp.epsilon(noise_multiplier=sigma, sample_rate=0.15, steps=24, delta=1e-5, accountant="pld")
    assert 7.92 <= spent <= 8.0


def test_no_privacy_and_no_steps():
    assert dp.noise_multiplier(epsilon=math.inf, delta=1e-5, sample_rate=0.1, steps=3) == 0.0
    assert dp.epsilon(noise_multiplier=0.0, sample_rate=0.1, steps=3, delta=1e-5) == math.inf
    assert dp.epsilon(noise_multiplier=1.0, sample_rate=0.1, steps=0, delta=1e-5) == 0.0
    assert dp.compose((NonPrivate(),), delta=1e-5) == math.inf
    assert dp.compose((), delta=1e-5) == 0.0


MIXED = (
    SampledGaussian(noise_multiplier=1.0, sample_rate=0.15, steps=12),
    SampledGaussian(noise_multiplier=2.0, sample_rate=0.3, steps=12),
    SampledGaussian(noise_multiplier=0.7, sample_rate=0.01, steps=100),
)


def test_heterogeneous_composition_agrees_and_does_not_depend_on_order():
    prv, pld, rdp = (dp.compose(MIXED, delta=1e-5, accountant=a) for a in ("prv", "pld", "rdp"))
    assert prv == pytest.approx(pld, rel=0.01)
    assert pld < rdp < 1.25 * pld
    assert dp.compose(MIXED[::-1], delta=1e-5) == prv
    split = (*MIXED[1:], *(SampledGaussian(noise_multiplier=1.0, sample_rate=0.15, steps=3),) * 4)
    assert dp.compose(split, delta=1e-5) == prv


@pytest.mark.parametrize(
    ("q", "sigma", "steps", "delta"),
    [
        (1e-5, 1.0, 10, 1e-5),
        (1e-3, 1.0, 10, 1e-5),
        (0.15, 50.0, 24, 1e-5),
        (0.15, 0.1, 24, 1e-5),
        (0.15, 0.01, 24, 1e-5),
        (0.999, 1.0, 5, 1e-5),
        (1.0, 1.0, 1, 1e-5),
        (1.0, 1.0, 24, 1e-5),
        (0.15, 1.0, 24, 1e-9),
        (0.15, 1.0, 24, 1e-2),
        (0.15, 1.0, 1, 1e-5),
    ],
)
def test_prv_at_odd_settings_is_an_upper_bound_near_pld(q, sigma, steps, delta):
    public = {"noise_multiplier": sigma, "sample_rate": q, "steps": steps, "delta": delta}
    prv, pld = dp.epsilon(**public), dp.epsilon(**public, accountant="pld")
    assert prv >= pld * (1 - 1e-3) - 1e-4
    assert prv <= pld * 1.01 + 2e-4


def test_replace_one_costs_more_and_only_pld_proves_it():
    public = {"noise_multiplier": 1.0, "sample_rate": 0.15, "steps": 24, "delta": 1e-5}
    replace = dp.epsilon(**public, accountant="pld", relation="replace_one")
    assert dp.epsilon(**public, accountant="pld") < replace
    for accountant in ("prv", "rdp"):
        with pytest.raises(UnsupportedAccounting, match="use accountant='pld'"):
            dp.epsilon(**public, accountant=accountant, relation="replace_one")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"accountant": "gdp"}, UnsupportedAccounting),
        ({"relation": "swap"}, UnsupportedAccounting),
        ({"delta": 0.0}, InvalidParameter),
        ({"delta": 1.0}, InvalidParameter),
        ({"sample_rate": 0.0}, InvalidParameter),
        ({"sample_rate": 1.1}, InvalidParameter),
        ({"noise_multiplier": -1.0}, InvalidParameter),
        ({"noise_multiplier": math.nan}, InvalidParameter),
        ({"steps": 1.5}, InvalidParameter),
        ({"steps": -1}, InvalidParameter),
    ],
)
def test_bad_parameters_are_refused(change, error):
    with pytest.raises(error):
        dp.epsilon(**({"noise_multiplier": 1.0, "sample_rate": 0.1, "steps": 10, "delta": 1e-5} | change))


def test_unreachable_budget_names_the_remedy():
    with pytest.raises(UnreachableBudget, match="raise epsilon"):
        dp.noise_multiplier(epsilon=1e-3, delta=1e-5, sample_rate=0.1, steps=10, accountant="rdp")
    with pytest.raises(InvalidParameter):
        dp.noise_multiplier(epsilon=0.0, delta=1e-5, sample_rate=0.1, steps=10)


CALIBRATED = [  # (n, ε) → σ by rdp and by prv, at δ = n^-1.1, q = 64/n, T = 1000
    (500, 1.0, {"rdp": 11.8, "prv": 10.5}),
    (500, 3.0, {"rdp": 4.71, "prv": 4.27}),
    (2000, 1.0, {"rdp": 3.48, "prv": 3.16}),
    (2000, 3.0, {"rdp": 1.49, "prv": 1.39}),
    (10000, 3.0, {"rdp": 0.73, "prv": 0.68}),
]


@pytest.mark.parametrize(("n", "epsilon", "sigmas"), CALIBRATED)
@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_known_calibrations(n, epsilon, sigmas, accountant):
    got = dp.noise_multiplier(epsilon=epsilon, delta=n**-1.1, sample_rate=64 / n, steps=1000, accountant=accountant)
    assert got == pytest.approx(sigmas[accountant], rel=0.01)


@pytest.mark.slow
@given(
    sigma=st.floats(0.4, 20.0),
    q=st.floats(1e-3, 1.0),
    steps=st.integers(1, 300),
    delta=st.sampled_from([1e-7, 1e-5, 1e-3]),
)
@settings(max_examples=15, deadline=None)
def test_prv_is_an_upper_bound_and_agrees_with_google_everywhere(sigma, q, steps, delta):
    public = {"noise_multiplier": sigma, "sample_rate": q, "steps": steps, "delta": delta}
    prv, pld = dp.epsilon(**public), dp.epsilon(**public, accountant="pld")
    assert optimistic_pld(sigma, q, steps, delta) <= prv <= pld * 1.01 + 2e-4


def optimistic_pld(sigma, q, steps, delta):
    """A lower bound on the true ε: Google's privacy buckets, rounded down."""
    step = from_gaussian_mechanism(
        sigma,
        sampling_prob=q,
        pessimistic_estimate=False,
        use_connect_dots=False,
        value_discretization_interval=1e-5 if sigma > 2 else 1e-4,
    )
    return step.self_compose(steps).get_epsilon_for_delta(delta)


@pytest.mark.slow
@given(
    epsilon=st.floats(0.05, 60.0),
    q=st.floats(1e-3, 1.0),
    steps=st.integers(1, 300),
    delta=st.sampled_from([1e-7, 1e-5, 1e-3]),
)
@settings(max_examples=12, deadline=None)
def test_round_trip_everywhere(epsilon, q, steps, delta):
    public = {"delta": delta, "sample_rate": q, "steps": steps}
    sigma = dp.noise_multiplier(epsilon=epsilon, **public)
    assert 0.99 * epsilon <= dp.epsilon(noise_multiplier=sigma, **public) <= epsilon


def test_a_run_of_many_rounds_and_clients_is_evaluated_quickly():
    start = time.perf_counter()
    for steps in range(1, 25):
        for client in range(8):
            dp.epsilon(noise_multiplier=0.83 + 0.01 * client, sample_rate=0.15, steps=steps, delta=1e-5)
    assert time.perf_counter() - start < 30, "about one second on an idle machine"


@pytest.mark.parametrize("accountant", ["prv", "rdp", "pld"])
@pytest.mark.parametrize("sigma", [5e-324, 1e-200, 1e-10, 1e-4])
def test_next_to_no_noise_has_an_epsilon_and_no_crash(sigma, accountant):
    found = dp.epsilon(noise_multiplier=sigma, sample_rate=0.15, steps=24, delta=1e-5, accountant=accountant)
    assert found > 1e8


def test_the_whole_trade_off_of_one_gaussian_is_known() -> None:
    epsilons = np.array([0.0, 0.5, 1.0, 3.0])
    event = SampledGaussian(noise_multiplier=1.0, sample_rate=1.0, steps=1)
    exact = ndtr(0.5 - epsilons) - np.exp(epsilons) * ndtr(-0.5 - epsilons)
    found = deltas((event,), epsilons, delta=1e-5)
    assert (found >= exact - 1e-12).all()
    assert found == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize(
    "events", [(), (NonPrivate(),), (SampledGaussian(noise_multiplier=0, sample_rate=1, steps=1),)]
)
def test_there_is_no_trade_off_without_noise(events: tuple[PrivacyEvent, ...]) -> None:
    with pytest.raises(UnsupportedAccounting):
        deltas(events, np.array([1.0]), delta=1e-5)
