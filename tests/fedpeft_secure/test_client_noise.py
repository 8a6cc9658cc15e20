"""From an update to what is summed, and back: clipping, the count beside it, and the clip norm that follows."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import dp.noise
import secagg
from dp.distributed.calibrate import Cohort, calibrate
from dp.distributed.words import SeededWords
from fedpeft_secure.client_noise import ClientNoise, encode_update, next_clip_norm, read_sum

DIM, CLIENTS = 600, 6
CENTRAL = ClientNoise(mechanism="central", central_multiplier=1.0, central_stddev=0.5)


def distributed(count_weight: float = 0.0) -> ClientNoise:
    shares = calibrate(
        family="discrete_gaussian",
        epsilon=1000.0,
        delta=1e-5,
        steps=1,
        cohort=Cohort(clients=CLIENTS, honest=CLIENTS),
        dim=DIM + (count_weight > 0),
        bits=20,
        accountant="rdp",
    )
    return ClientNoise(mechanism="distributed_discrete_gaussian", count_weight=count_weight, shares=shares)


def plan_of(make_plan, noise, **changes):
    return make_plan(mechanism=noise.mechanism, count_weight=noise.count_weight, **changes)


def encoded(noise, plan, update, seed=0):
    rng = np.random.default_rng(seed)
    return encode_update(noise, plan, update, rng=rng, source=SeededWords(rng))


@pytest.mark.parametrize("length", [0.0, 0.3, 2.0, 50.0])
def test_updates_are_sent_in_clip_norms_and_never_longer_than_one(length, make_plan):
    update = np.full(DIM, length / DIM**0.5)
    vector = encoded(CENTRAL, plan_of(make_plan, CENTRAL, clip_norm=2.0), update)
    assert np.linalg.norm(vector) == pytest.approx(min(length / 2.0, 1.0), rel=1e-6)
    assert np.linalg.norm(vector) <= 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_update_that_is_not_finite_counts_as_zero_and_as_too_long(bad, make_plan):
    noise = replace(CENTRAL, count_weight=0.25)
    update = np.zeros(DIM)
    update[3] = bad
    vector = encoded(noise, plan_of(make_plan, noise), update)
    assert not vector[:-1].any()
    assert vector[-1] == -0.25


def aggregate_of(vectors):
    return secagg.Aggregate(
        mean=np.mean(vectors, axis=0),
        total_weight=len(vectors),
        survivors=tuple(f"client-{i}" for i in range(len(vectors))),
        integers=np.zeros(1, dtype=np.int64),
    )


def read(noise, plan, vectors, seed=0):
    source = dp.noise.SeededGaussian(np.random.default_rng(seed))
    return read_sum(noise, plan, aggregate_of(vectors), server_noise=lambda: source)


def test_shares_come_back_as_the_mean_of_the_clipped_updates_and_the_count(make_plan):
    noise = distributed(count_weight=0.3)
    plan = plan_of(make_plan, noise, clip_norm=2.0)
    rng = np.random.default_rng(1)
    updates = rng.standard_normal((CLIENTS, DIM)) / DIM**0.5 * np.array([[0.5], [1.0], [1.5], [1.0], [4.0], [9.0]])
    clipped = updates * np.minimum(1, 2.0 / np.linalg.norm(updates, axis=1, keepdims=True))
    found = read(noise, plan, [encoded(noise, plan, update, seed) for seed, update in enumerate(updates)])
    deviation = 2.0 * noise.largest_norm * (CLIENTS * noise.shares.share_variance) ** 0.5 / noise.shares.scale / CLIENTS
    assert np.abs(found.mean - clipped.mean(axis=0)).max() < 5 * deviation
    assert found.below_clip == pytest.approx(4 / 6, abs=5 * deviation / 2 / 2 / 0.3)


def test_a_trusted_servers_noise_has_the_planned_size_and_ten_percent_less_is_rejected(make_plan):
    plan = plan_of(make_plan, CENTRAL, clip_norm=2.0)
    vectors = [encoded(CENTRAL, plan, np.ones(40_000)) for _ in range(CLIENTS)]
    errors = read(CENTRAL, plan, vectors).mean - 2.0 * vectors[0]
    deviation = 2.0 * 0.5 / CLIENTS
    assert stats.kstest(errors, "norm", args=(0.0, deviation)).pvalue > 1e-6
    assert stats.kstest(errors, "norm", args=(0.0, 0.9 * deviation)).pvalue < 1e-6


def test_shares_need_no_server_noise(make_plan):
    noise = distributed()
    plan = plan_of(make_plan, noise)

    def forbidden():
        raise AssertionError("a distributed sum asked the server for noise")

    vectors = [encoded(noise, plan, np.zeros(DIM), seed) for seed in range(CLIENTS)]
    assert read_sum(noise, plan, aggregate_of(vectors), server_noise=forbidden).below_clip is None


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8])
def test_the_clip_norm_finds_the_quantile(quantile):
    lengths = np.random.default_rng(0).lognormal(1.0, 0.5, 2000)
    rng, clip_norm, path = np.random.default_rng(1), 0.1, []
    for _ in range(200):
        below = float(np.mean(rng.choice(lengths, 100) <= clip_norm)) + rng.normal(0, 0.05)
        clip_norm = next_clip_norm(clip_norm, below, quantile=quantile, rate=0.2)
        path.append(clip_norm)
    assert np.mean(lengths <= np.median(path[100:])) == pytest.approx(quantile, abs=0.05)


def test_a_count_beyond_all_clients_moves_no_further_than_all():
    assert next_clip_norm(1.0, 7.0, quantile=0.5, rate=0.2) == pytest.approx(np.exp(-0.1))
    assert next_clip_norm(1.0, -7.0, quantile=0.5, rate=0.2) == pytest.approx(np.exp(0.1))
