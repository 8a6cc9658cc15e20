"""Samples are Poisson at the claimed rate; a wrong rate, or a fixed size in disguise, is noticed."""

import numpy as np
import pytest

from dp.errors import InvalidParameter
from dp.sampling import SecurePoisson, SeededPoisson

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
