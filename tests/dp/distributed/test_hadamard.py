"""The rotation is orthonormal in any dimension, spreads what is concentrated, and follows from public bytes alone."""

import numpy as np
import pytest

from dp.distributed.hadamard import Rotation, largest_block
from dp.errors import InvalidParameter


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8, 100, 300, 511, 512, 600])
def test_orthonormal_and_invertible(dim):
    rotation = Rotation(dim=dim, seed=b"seed")
    matrix = np.array([rotation.forward(row) for row in np.eye(dim)])
    assert np.abs(matrix @ matrix.T - np.eye(dim)).max() < 1e-12
    vector = np.random.default_rng(0).standard_normal(dim)
    assert np.abs(rotation.inverse(rotation.forward(vector)) - vector).max() < 1e-12
    assert np.abs(rotation.forward(rotation.inverse(vector)) - vector).max() < 1e-12


def test_no_padding_at_a_hundred_thousand_and_norms_to_twelve_digits():
    rotation = Rotation(dim=100_000, seed=b"seed")
    vector = np.random.default_rng(0).standard_normal(100_000)
    rotated = rotation.forward(vector)
    assert rotated.shape == vector.shape
    assert np.linalg.norm(rotated) == pytest.approx(np.linalg.norm(vector), rel=1e-12)
    assert np.abs(rotation.inverse(rotated) - vector).max() < 1e-12


@pytest.mark.parametrize("place", [0, 40_000, 70_000, 99_999])
def test_a_single_spike_is_spread_over_at_least_a_block(place):
    rotation = Rotation(dim=100_000, seed=b"seed")
    spike = np.zeros(100_000)
    spike[place] = 1.0
    deviation = rotation.block**-0.5
    assert np.abs(rotation.forward(spike)).max() < 6 * deviation  # sub-Gaussian with parameter 1/block


def test_signs_spread_vectors_that_the_bare_transform_would_concentrate():
    constant = np.full(512, 512**-0.5)
    assert np.abs(Rotation(dim=512, seed=b"seed").forward(constant)).max() < 6 / 512**0.5


def test_the_seed_decides():
    vector = np.arange(10.0)
    first, again, other = (Rotation(dim=10, seed=seed).forward(vector) for seed in (b"a", b"a", b"b"))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_blocks_cover_and_arguments_are_checked():
    assert [largest_block(dim) for dim in (1, 2, 3, 4, 100_000)] == [1, 2, 2, 4, 65_536]
    with pytest.raises(InvalidParameter, match="dim"):
        Rotation(dim=0, seed=b"")
    with pytest.raises(InvalidParameter, match="shape"):
        Rotation(dim=3, seed=b"").forward(np.zeros(4))


def test_arguments_are_not_changed():
    vector = np.ones(6)
    Rotation(dim=6, seed=b"").forward(vector)
    Rotation(dim=6, seed=b"").inverse(vector)
    assert (vector == 1).all()
