"""Rounding is unbiased where its bound leaves room, and never passes the bound that sensitivity rests on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.distributed.rounding import round_conditionally, squared_norm_bound
from dp.errors import InvalidParameter, NonFiniteUpdate


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.floats(0, 50), st.integers(0, 2**32 - 1), st.sampled_from(["dense", "spike", "halves"]))
def test_the_norm_bound_is_never_violated(dim, norm, seed, kind):
    rng = np.random.default_rng(seed)
    vector = {
        "dense": rng.standard_normal(dim),
        "spike": np.eye(dim)[rng.integers(dim)],
        "halves": np.full(dim, 0.5),
    }[kind]
    vector = vector * min(norm / np.linalg.norm(vector), 1.0 if kind == "halves" else np.inf) * (1 - 1e-9)
    bound = squared_norm_bound(norm, dim)
    rounded = round_conditionally(vector, squared_norm=bound, rng=rng)
    assert rounded.dtype == np.int64
    assert int((rounded.astype(object) ** 2).sum()) <= bound
    assert (np.abs(rounded - vector) < 1).all()


def test_the_bound_is_needed_and_bites():
    """Plain randomised rounding passes the bound now and then: without the condition this test would find it."""
    rng, vector = np.random.default_rng(0), np.full(400, 0.5)
    bound = squared_norm_bound(float(np.linalg.norm(vector)), 400)
    plain = [int(((rng.random(400) < 0.5) ** 2).sum()) for _ in range(3000)]
    assert max(plain) > bound
    assert max(int((round_conditionally(vector, squared_norm=bound, rng=rng) ** 2).sum()) for _ in range(3000)) <= bound


def test_the_bound_is_the_papers():
    assert squared_norm_bound(1000.0, 100_000) == int(1000.0**2 + 25_000 + 1000.0 + 100_000**0.5 / 2)
    assert squared_norm_bound(100.0, 1) == int(100.0**2 + 0.25 + 100.0 + 0.5)
    assert squared_norm_bound(0.0, 4) == 2  # d/4 + √d/2, below (0 + √d)²


def test_unbiased():
    """Means over many roundings lie within five standard errors; rounding to the nearest would be far outside."""
    rng = np.random.default_rng(1)
    vector = rng.standard_normal(500) * 3
    bound = squared_norm_bound(float(np.linalg.norm(vector)) * 1.2, 500)
    mean = np.mean([round_conditionally(vector, squared_norm=bound, rng=rng) for _ in range(2000)], axis=0)
    assert np.abs(mean - vector).max() < 5 * 0.5 / 2000**0.5
    assert np.abs(np.rint(vector) - vector).max() > 5 * 0.5 / 2000**0.5


def test_integers_stay_and_zero_stays_zero():
    rng = np.random.default_rng(0)
    whole = np.array([3.0, -4.0, 0.0])
    assert (round_conditionally(whole, squared_norm=25, rng=rng) == whole).all()
    assert not round_conditionally(np.zeros(5), squared_norm=1, rng=rng).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(NonFiniteUpdate):
        round_conditionally(np.array([0.0, bad]), squared_norm=10, rng=np.random.default_rng(0))
    with pytest.raises(InvalidParameter):
        squared_norm_bound(bad, 3)


def test_a_vector_that_was_not_clipped_is_refused():
    with pytest.raises(InvalidParameter, match="clip"):
        round_conditionally(np.array([10.0]), squared_norm=99, rng=np.random.default_rng(0))
