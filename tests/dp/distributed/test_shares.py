"""From a vector to wrapped integers and back: unbiased, with the planned noise, clipped, and blind to failures."""

import numpy as np
import pytest
from scipy import stats

import dp
from dp.distributed.calibrate import Cohort, calibrate
from dp.distributed.hadamard import Rotation
from dp.distributed.shares import noised_contribution, read_mean, wrap
from dp.distributed.words import SecureWords, SeededWords
from dp.errors import InvalidParameter

DIM, CLIENTS, HONEST = 700, 8, 5
ROTATION = Rotation(dim=DIM, seed=b"public")
PLANS = {
    family: calibrate(
        family=family,
        epsilon=8.0,
        delta=1e-5,
        steps=10,
        cohort=Cohort(clients=CLIENTS, honest=HONEST),
        dim=DIM,
        bits=16,
        accountant="rdp",
    )
    for family in ("skellam", "discrete_gaussian")
}


def contribution(plan, vector, seed, clip_norm=0.5):
    rng = np.random.default_rng(seed)
    return noised_contribution(plan, vector, clip_norm=clip_norm, rotation=ROTATION, rng=rng, source=SeededWords(rng))


def round_of(plan, vectors, seed):
    total = sum(contribution(plan, vector, 1000 * seed + index) for index, vector in enumerate(vectors))
    return read_mean(plan, wrap(total, bits=16) / len(vectors), clip_norm=0.5, rotation=ROTATION)


@pytest.mark.parametrize("family", PLANS)
def test_the_mean_carries_the_planned_noise_and_ten_percent_less_is_rejected(family):
    plan, rng = PLANS[family], np.random.default_rng(0)
    vectors = rng.standard_normal((CLIENTS, DIM))
    vectors *= 0.4 / np.linalg.norm(vectors, axis=1, keepdims=True)
    errors = np.concatenate([round_of(plan, vectors, seed) - vectors.mean(axis=0) for seed in range(40)])
    # All eight clients add a share: their noise on the sum is √(8/5) of the guaranteed one; rounding adds a little.
    steps = np.sqrt(CLIENTS * plan.share_variance + CLIENTS / 6)
    deviation = steps * 0.5 / plan.scale / CLIENTS
    assert stats.kstest(errors, "norm", args=(0.0, deviation)).pvalue > 1e-6
    assert stats.kstest(errors, "norm", args=(0.0, 0.9 * deviation)).pvalue < 1e-6


def test_what_is_longer_than_the_clip_norm_is_clipped():
    plan = PLANS["skellam"]
    vector = np.zeros(DIM)
    vector[3] = 40.0
    means = np.mean([round_of(plan, [vector], seed)[3] for seed in range(200)])
    noise = np.sqrt(plan.share_variance) * 0.5 / plan.scale
    assert means == pytest.approx(0.5, abs=5 * noise / 200**0.5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e308])
def test_a_vector_that_is_not_finite_counts_as_zero(bad):
    plan = PLANS["discrete_gaussian"]
    vector = np.full(DIM, bad)
    with np.errstate(over="ignore", invalid="ignore"):
        sent = contribution(plan, vector, 4)
    assert np.abs(sent).max() < 9 * plan.share_variance**0.5


def test_without_noise_the_norm_bound_holds(monkeypatch):
    plan = PLANS["skellam"]
    monkeypatch.setattr("dp.distributed.shares.skellam", lambda count, **_: np.zeros(count, dtype=np.int64))
    for seed in range(20):
        vector = np.random.default_rng(seed).standard_normal(DIM) * 10.0 ** (seed - 10)
        sent = contribution(plan, vector, seed)
        assert int(sent @ sent) <= plan.squared_norm


@pytest.mark.parametrize("bits", [4, 16, 40])
def test_wrapping(bits):
    half = 1 << (bits - 1)
    values = np.array([0, 1, -1, half - 1, half, -half, -half - 1, 3 * half, 5 * half + 2])
    wrapped = wrap(values, bits=bits)
    assert wrapped.min() >= -half
    assert wrapped.max() < half
    assert ((wrapped - values) % (1 << bits) == 0).all()
    assert (wrapped[:4] == values[:4]).all()


def test_the_sum_of_wrapped_values_is_the_wrapped_sum():
    plan = PLANS["skellam"]
    rng = np.random.default_rng(0)
    values = rng.integers(-(1 << 20), 1 << 20, (CLIENTS, 50))
    assert (wrap(wrap(values, bits=plan.bits).sum(axis=0), bits=plan.bits) == wrap(values.sum(axis=0), bits=16)).all()


def test_noise_is_fresh_and_the_source_decides():
    vector, plan = np.zeros(DIM), PLANS["skellam"]
    rng = np.random.default_rng(0)
    terms = {"clip_norm": 1.0, "rotation": ROTATION, "rng": rng, "source": SecureWords()}
    assert (noised_contribution(plan, vector, **terms) != noised_contribution(plan, vector, **terms)).any()
    assert (contribution(plan, vector, 5) == contribution(plan, vector, 5)).all()


def test_arguments_are_checked():
    plan = PLANS["skellam"]
    with pytest.raises(InvalidParameter, match="shape"):
        contribution(plan, np.zeros(DIM + 1), 0)
    with pytest.raises(InvalidParameter, match="clip_norm"):
        contribution(plan, np.zeros(DIM), 0, clip_norm=0.0)


def test_plans_describe_events_that_the_ledger_stores():
    from dp.events import from_json, to_json

    for plan in PLANS.values():
        event = plan.event(steps=1)
        assert from_json(to_json(event)) == event
        assert dp.compose((plan.event(steps=10),), delta=1e-5, accountant="rdp") <= 8.0
