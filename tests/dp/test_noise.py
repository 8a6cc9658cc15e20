"""Noise has the claimed distribution, is fresh, and says what it is."""

import os

import numpy as np
import pytest
import torch
from scipy import stats

from dp import noise
from dp.errors import InvalidParameter
from dp.noise import SecureGaussian, SeededGaussian

SOURCES = [SecureGaussian(), SeededGaussian(np.random.default_rng(7))]


def p_value(values, stddev):
    """Kolmogorov–Smirnov against N(0, stddev²): a false alarm once in a million at the bound below."""
    return stats.kstest(values, "norm", args=(0.0, stddev)).pvalue


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.label)
def test_distribution_and_that_wrong_scales_are_noticed(source):
    values = source.draw((200, 200), 2.5).numpy().ravel()
    assert values.dtype == np.float64
    assert p_value(values, 2.5) > 1e-6
    assert p_value(0.9 * values, 2.5) < 1e-6
    assert p_value(1.1 * values, 2.5) < 1e-6
    assert p_value(values + 0.25, 2.5) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.label)
def test_tails_and_independence(source):
    values = source.draw((2_000_000,), 1.0).numpy()
    for bound in (2.0, 3.0, 4.0, 4.5):
        expected = 2 * stats.norm.sf(bound) * len(values)
        assert abs((np.abs(values) > bound).sum() - expected) < 5 * expected**0.5
    assert p_value(0.99 * values, 1.0) < 1e-6 < p_value(values, 1.0)
    for lag in (1, 2, 500_000, 1_000_000):
        assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 5 * len(values[lag:]) ** -0.5
        assert abs(np.corrcoef(values[:-lag] ** 2, values[lag:] ** 2)[0, 1]) < 5 * len(values[lag:]) ** -0.5


def test_labels_say_who_is_protected():
    assert SecureGaussian().label == "secure"
    assert SecureGaussian(entropy=bytes).label == "simulation"
    assert SeededGaussian(np.random.default_rng(0)).label == "simulation"


def test_seeded_noise_is_reproducible_and_so_removable_while_secure_noise_is_not():
    signal = torch.randn(50, dtype=torch.float64)
    released = signal + SeededGaussian(np.random.default_rng(5)).draw((50,), 10.0)
    assert torch.allclose(released - SeededGaussian(np.random.default_rng(5)).draw((50,), 10.0), signal)
    assert not torch.equal(SecureGaussian().draw((50,), 1.0), SecureGaussian().draw((50,), 1.0))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_process_does_not_repeat_its_parents_noise():
    source, (reader, writer) = SecureGaussian(), os.pipe()
    source.draw((4,), 1.0)
    child = os.fork()
    if child == 0:
        os.write(writer, source.draw((4,), 1.0).numpy().tobytes())
        os._exit(0)
    theirs = np.frombuffer(os.read(reader, 32))
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    assert not np.isin(source.draw((4,), 1.0).numpy(), theirs).any()


def test_uniforms_never_reach_the_ends(monkeypatch):
    words = np.array([0, 2**64 - 1, 1 << 63], dtype=np.uint64)
    monkeypatch.setattr(noise, "secure_words", lambda count, entropy: words)
    lowest, highest, middle = noise.secure_uniforms(3, os.urandom)
    assert 0 < lowest < 2.0**-52
    assert 1 - 2.0**-52 < highest < 1
    assert middle == pytest.approx(0.5)


def test_words_use_the_whole_range_and_another_key_each_time():
    words = noise.secure_words(10_000, os.urandom)
    assert words.dtype == np.uint64
    bits = (words[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert (np.abs(bits.mean(axis=0) - 0.5) < 5 * 0.5 / 100).all()
    assert not np.isin(noise.secure_words(10, os.urandom), words).any()


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
def test_shapes(shape):
    for source in SOURCES:
        assert source.draw(shape, 1.0).shape == torch.Size(shape)


@pytest.mark.parametrize("stddev", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_scales_are_refused(stddev):
    for source in SOURCES:
        with pytest.raises(InvalidParameter, match="stddev"):
            source.draw((2,), stddev)
