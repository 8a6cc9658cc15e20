import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpeft_secure.aggregation.low_rank import svd, truncate, truncate_factors

shapes = st.tuples(st.integers(1, 8), st.integers(1, 8))


@given(shape=shapes, rank=st.integers(1, 9), seed=st.integers(0, 1000))
def test_truncation_leaves_the_tail_of_the_spectrum(shape: tuple[int, int], rank: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).standard_normal(shape)
    b, a = truncate(matrix, rank)
    kept = min(rank, *shape)
    assert (b.shape, a.shape) == ((shape[0], kept), (kept, shape[1]))
    tail = np.linalg.svd(matrix, compute_uv=False)[kept:]
    assert np.linalg.norm(matrix - b @ a) == pytest.approx(np.sqrt((tail**2).sum()), abs=1e-12)
    assert np.allclose(a @ a.T, np.eye(kept), atol=1e-12)


@given(shape=shapes, inner=st.integers(1, 9), rank=st.integers(1, 9), seed=st.integers(0, 1000))
def test_factors_are_truncated_as_their_product_is(shape: tuple[int, int], inner: int, rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = rng.standard_normal((shape[0], inner)), rng.standard_normal((inner, shape[1]))
    b, a = truncate_factors(left, right, rank)
    want_b, want_a = truncate(left @ right, rank)
    assert (b.shape, a.shape) == (want_b.shape, want_a.shape)
    assert np.linalg.norm(left @ right - b @ a) <= np.linalg.norm(left @ right - want_b @ want_a) + 1e-10


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_the_scale_does_not_matter(scale: float) -> None:
    matrix = np.random.default_rng(0).standard_normal((6, 4))
    b, a = truncate(scale * matrix, 4)
    assert np.allclose(b @ a, scale * matrix, rtol=1e-12, atol=1e-12 * scale)


def test_nothing_stays_nothing() -> None:
    b, a = truncate(np.zeros((5, 3)), 2)
    assert (b == 0).all()
    assert np.allclose(a @ a.T, np.eye(2))


@pytest.mark.parametrize("copies", [1, 40])
def test_an_ill_conditioned_sum_is_cut_to_its_best_answer(copies: int) -> None:
    """Equal singular values, and others 14 orders of magnitude below: what clients that agree produce."""
    rng = np.random.default_rng(1)
    left, right = (np.linalg.qr(rng.standard_normal((size, 20)))[0] for size in (40, 30))
    values = np.repeat([1.0, 1e-14], 10)
    product = sum(((left * values) @ right.T) / copies for _ in range(copies))
    b, a = truncate(product, 10)
    assert np.linalg.norm(product - b @ a) < 1e-13
    assert np.isfinite(b).all()


def test_where_the_fast_driver_gives_up_the_slow_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(2).standard_normal((7, 5))
    wanted = np.linalg.svd(matrix, compute_uv=False)

    def gives_up(*args: object, **options: object) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", gives_up)
    left, values, right = svd(matrix)
    assert np.allclose(values, wanted)
    assert np.allclose((left * values) @ right, matrix)
