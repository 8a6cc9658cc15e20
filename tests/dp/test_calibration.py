"""The other directions of calibration: never above the budget, within 1 % of it, and agreed on by two libraries."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dp
from dp.errors import InvalidParameter, UnreachableBudget

AT = {"delta": 1e-5}


@example(sigma=0.75, target=0.5, steps=1)  # ε by Rényi orders jumps from 0 past the target
@settings(max_examples=5, deadline=None)
@given(sigma=st.floats(0.7, 6.0), target=st.floats(0.5, 12.0), steps=st.integers(1, 400))
def test_a_rate_spends_the_budget_and_never_more(sigma, target, steps):
    rate = dp.sample_rate(noise_multiplier=sigma, epsilon=target, steps=steps, accountant="rdp", **AT)
    spent, above = (
        dp.epsilon(noise_multiplier=sigma, sample_rate=min(q, 1.0), steps=steps, accountant="rdp", **AT)
        for q in (rate, 1.0002 * rate)
    )
    assert spent <= target
    assert rate == 1.0 or spent >= 0.99 * target or above > target


@settings(max_examples=5, deadline=None)
@given(sigma=st.floats(0.7, 6.0), rate=st.floats(0.01, 1.0), target=st.floats(0.2, 12.0))
def test_one_step_more_than_affordable_is_one_too_many(sigma, rate, target):
    steps = dp.affordable_steps(
        noise_multiplier=sigma, sample_rate=rate, epsilon=target, at_most=300, accountant="rdp", **AT
    )
    spent = [
        dp.epsilon(noise_multiplier=sigma, sample_rate=rate, steps=count, accountant="rdp", **AT)
        for count in (steps, steps + 1)
    ]
    assert spent[0] <= target
    assert steps == 300 or spent[1] > target


@pytest.mark.slow
@pytest.mark.parametrize(("sigma", "target", "steps"), [(1.0, 8.0, 24)])
def test_prv_and_pld_agree_on_rates_and_steps(sigma, target, steps):
    rates = {
        name: dp.sample_rate(noise_multiplier=sigma, epsilon=target, steps=steps, accountant=name, **AT)
        for name in ("prv", "pld")
    }
    assert rates["prv"] == pytest.approx(rates["pld"], rel=0.01)
    for name, other in (("prv", "pld"), ("pld", "prv")):
        spent = dp.epsilon(noise_multiplier=sigma, sample_rate=rates[name], steps=steps, accountant=other, **AT)
        assert spent == pytest.approx(target, rel=0.01)
    found = [
        dp.affordable_steps(
            noise_multiplier=sigma, sample_rate=rates["pld"], epsilon=target, at_most=30, accountant=name, **AT
        )
        for name in rates
    ]
    assert found == pytest.approx([steps, steps], abs=1)


def test_the_three_directions_are_inverse_to_one_another():
    sigma = dp.noise_multiplier(epsilon=8.0, sample_rate=0.15, steps=24, **AT)
    assert dp.sample_rate(noise_multiplier=sigma, epsilon=8.0, steps=24, **AT) == pytest.approx(0.15, rel=0.02)
    assert dp.affordable_steps(noise_multiplier=sigma, sample_rate=0.15, epsilon=8.0, at_most=99, **AT) in (24, 25)


def test_what_was_spent_before_is_taken_into_account():
    earlier = (dp.SampledGaussian(noise_multiplier=2.0, sample_rate=0.1, steps=20), dp.NonPrivate())
    more = {"noise_multiplier": 1.0, "sample_rate": 0.15, "epsilon": 6.0, "at_most": 99, "accountant": "rdp", **AT}
    alone, after = dp.affordable_steps(**more), dp.affordable_steps(**more, earlier=earlier[:1])
    assert 0 < after < alone
    assert dp.affordable_steps(**more, earlier=earlier) == 0


def test_a_rate_of_one_where_everything_fits():
    assert dp.sample_rate(noise_multiplier=50.0, epsilon=8.0, steps=10, **AT) == 1.0
    assert dp.sample_rate(noise_multiplier=1.0, epsilon=math.inf, steps=10, **AT) == 1.0


def test_at_most_is_a_limit_and_no_step_may_fit():
    few = {"noise_multiplier": 1.0, "sample_rate": 0.15, "accountant": "rdp", **AT}
    assert dp.affordable_steps(epsilon=100.0, at_most=7, **few) == 7
    assert dp.affordable_steps(epsilon=1e-3, at_most=7, **few) == 0
    assert dp.affordable_steps(epsilon=1.0, at_most=0, **few) == 0


def test_a_budget_that_no_rate_meets():
    with pytest.raises(UnreachableBudget, match="at any sampling rate by accountant='rdp'; raise epsilon or noise"):
        dp.sample_rate(noise_multiplier=0.05, epsilon=1e-3, steps=10**6, accountant="rdp", **AT)


@pytest.mark.parametrize(
    "change", [{"noise_multiplier": 0.0}, {"noise_multiplier": -1.0}, {"epsilon": 0.0}, {"delta": 0.0}, {"steps": 0}]
)
def test_wrong_parameters_are_refused(change):
    with pytest.raises(InvalidParameter, match=next(iter(change))):
        dp.sample_rate(**({"noise_multiplier": 1.0, "epsilon": 1.0, "delta": 1e-5, "steps": 1} | change))


@pytest.mark.parametrize(
    "change", [{"noise_multiplier": 0.0}, {"epsilon": -1.0}, {"at_most": -1}, {"at_most": 1.5}, {"sample_rate": 0.0}]
)
def test_wrong_parameters_of_steps_are_refused(change):
    good = {"noise_multiplier": 1.0, "sample_rate": 0.1, "epsilon": 1.0, "delta": 1e-5, "at_most": 3}
    with pytest.raises(InvalidParameter, match=next(iter(change))):
        dp.affordable_steps(**(good | change))
