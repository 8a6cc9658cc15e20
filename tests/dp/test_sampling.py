"""Samples are Poisson at the claimed rate; a wrong rate, or a fixed size in disguise, is noticed."""

import numpy as np
import pytest

from dp.errors import InvalidParameter
from dp.sampling import SecurePoisson, SeededPoisson, draw_by_group

SAMPLERS = [SecurePoisson(), SeededPoisson(np.random.default_rng(11))]


def fits(sizes, count, rate):
    """Accepts binomial sample sizes by mean and variance, within five standard errors."""
    mean, variance = count * rate, count * rate * (1 - rate)
    trials = len(sizes)
    return (
        abs(np.mean(sizes) - mean) < 5 * (variance / trials) ** 0.5
        and abs(np.var(sizes) - variance) < 5 * variance * (2 / trials) ** 0.5
    )


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s.label)
def test_rate_and_spread(sampler):
    sizes = [len(sampler.draw(800, 0.15)) for _ in range(2000)]
    assert fits(sizes, 800, 0.15)
    assert not fits([len(sampler.draw(800, 0.135)) for _ in range(2000)], 800, 0.15)
    assert not fits([120] * 2000, 800, 0.15), "a fixed-size batch is no Poisson sample"


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s.label)
def test_every_index_is_equally_likely_and_independent(sampler):
    drawn = np.zeros((4000, 20), dtype=bool)
    for row in drawn:
        row[sampler.draw(20, 0.3)] = True
    assert (np.abs(drawn.mean(0) - 0.3) < 5 * (0.21 / 4000) ** 0.5).all()
    correlations = np.corrcoef(drawn.T)[~np.eye(20, dtype=bool)]
    assert np.abs(correlations).max() < 5.5 * 4000**-0.5


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s.label)
def test_edges(sampler):
    assert sampler.draw(7, 1.0).tolist() == list(range(7))
    assert sampler.draw(0, 0.5).tolist() == []
    assert sampler.draw(1000, 1e-12).tolist() == []
    indices = sampler.draw(1000, 0.5)
    assert indices.dtype == np.int64
    assert (np.diff(indices) > 0).all()
    for bad in (0.0, -0.1, 1.01, float("nan")):
        with pytest.raises(InvalidParameter):
            sampler.draw(10, bad)
    with pytest.raises(InvalidParameter):
        sampler.draw(-1, 0.5)


def test_empty_samples_happen_and_labels_are_honest():
    assert any(len(SecurePoisson().draw(5, 0.15)) == 0 for _ in range(100))
    assert [s.label for s in SAMPLERS] == ["secure", "simulation"]
    assert SecurePoisson(entropy=bytes).label == "simulation"


def test_every_group_enters_with_its_own_rate():
    group_N = np.repeat(np.arange(3), 20_000)
    np.random.default_rng(1).shuffle(group_N)
    rates = (0.05, 0.5, 1.0)
    for sampler in (SeededPoisson(np.random.default_rng(0)), SecurePoisson()):
        chosen = draw_by_group(sampler, group_N, rates)
        assert (np.diff(chosen) > 0).all()
        for group, rate in enumerate(rates):
            count = (group_N[chosen] == group).sum()
            assert abs(count - 20_000 * rate) <= 5 * np.sqrt(20_000 * rate * (1 - rate)), "five standard deviations"


def test_nobody_to_draw_from_is_an_empty_sample():
    nobody = np.array([], dtype=np.int64)
    assert draw_by_group(SeededPoisson(np.random.default_rng(0)), nobody, (0.5,)).tolist() == []


@pytest.mark.parametrize("group_N", [[0, 2], [-1, 0]])
def test_an_example_of_no_group_is_refused(group_N):
    with pytest.raises(InvalidParameter, match="the number of rates"):
        draw_by_group(SeededPoisson(np.random.default_rng(0)), np.array(group_N), (0.5, 0.5))
