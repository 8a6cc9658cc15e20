import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpeft_secure.aggregation.factors import Factors, ModulePlan, read_factors, shared_a

sides = st.integers(1, 7)


def draw(d: int, n: int, rank: int, seed: int = 0) -> Factors:
    rng = np.random.default_rng(seed)
    return Factors(b=rng.standard_normal((d, rank)), a=rng.standard_normal((rank, n)))


@given(d=sides, n=sides, rank=sides, seed=st.integers(0, 1000))
def test_the_norm_is_that_of_the_product(d: int, n: int, rank: int, seed: int) -> None:
    factors = draw(d, n, rank, seed)
    assert factors.norm() == pytest.approx(np.linalg.norm(factors.b @ factors.a))
    assert np.array_equal(factors.product(), factors.b @ factors.a)


@given(d=sides, n=sides, rank=sides, slots=sides)
def test_slots_are_cut_or_filled_with_zeros(d: int, n: int, rank: int, slots: int) -> None:
    factors = draw(d, n, rank)
    slotted = factors.in_slots(slots)
    kept = min(rank, slots)
    assert (slotted.b.shape, slotted.a.shape) == ((d, slots), (slots, n))
    assert np.allclose(slotted.b @ slotted.a, factors.b[:, :kept] @ factors.a[:kept], atol=1e-12)
    assert (slotted.b[:, kept:] == 0).all()
    assert (slotted.a[kept:] == 0).all()


def test_factors_are_private_and_read_only() -> None:
    factors = draw(3, 4, 2)
    assert repr(factors) == "Factors()"
    with pytest.raises(ValueError, match="read-only"):
        factors.b[0, 0] = 1.0


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "factors: there are none"),
        ([(np.ones((3, 2)), np.ones((3, 4)))], r"factors\[0\]: B has shape \(3, 2\) and A \(3, 4\); they must be"),
        ([(np.ones((3, 0)), np.ones((0, 4)))], "they must be"),
        ([(np.ones(3), np.ones((3, 4)))], "they must be"),
        ([(np.ones((3, 2)),)], r"factors\[0\]: 1 arrays; pass a pair"),
        ([(np.ones((3, 2)), np.full((2, 4), np.nan))], r"factors\[0\]: A holds NaN or infinity; leave this client out"),
        ([(np.full((3, 2), np.inf), np.ones((2, 4)))], "B holds NaN or infinity"),
        ([(np.ones((3, 2)), np.ones((2, 4), dtype=complex))], "A holds complex128 values; pass real numbers"),
        ([(np.array([["x"]]), np.ones((1, 4)))], "pass real numbers"),
        ([(np.ones((3, 2)), np.ones((2, 4))), (np.ones((4, 2)), np.ones((2, 3)))], "must tune the same module"),
    ],
)
def test_what_are_no_factors(pairs: list[tuple[np.ndarray, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_factors(pairs)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_smaller_and_integer_types_become_float64() -> None:
    (factors,) = read_factors([(np.ones((3, 2), dtype=np.float32), np.ones((2, 4), dtype=np.int64))])
    assert factors.b.dtype == factors.a.dtype == np.float64


def test_a_is_shared_if_all_are_its_first_rows() -> None:
    whole = draw(4, 6, 3)
    part = Factors(b=np.ones((4, 2)), a=whole.a[:2])
    other = Factors(b=np.ones((4, 2)), a=whole.a[1:])
    assert np.array_equal(shared_a([part, whole]), whole.a)
    assert shared_a([whole, other]) is None


def test_what_a_plan_knows() -> None:
    public = ModulePlan(d=9, n=8, ranks=(1, 4, 2, 4), rank=3)
    assert (public.largest_rank, public.rank_of_sum, public.rank_of_answer) == (4, 8, 3)
    assert (public.slots, public.fillers) == (3, 2)
    assert ModulePlan(d=9, n=2, ranks=(1, 4), rank=3).rank_of_answer == 2


def test_test_matrices_are_orthonormal_public_and_apart() -> None:
    public = ModulePlan(d=9, n=8, ranks=(1,), rank=1, seed=5)
    matrix = public.test_matrix("omega", rows=8, columns=3)
    assert np.allclose(matrix.T @ matrix, np.eye(3))
    again = ModulePlan(d=7, n=8, ranks=(2, 2), rank=1, seed=5).test_matrix("omega", rows=8, columns=3)
    assert np.array_equal(matrix, again)
    assert not np.allclose(matrix, public.test_matrix("psi", rows=8, columns=3))
    assert not np.allclose(
        matrix, ModulePlan(d=9, n=8, ranks=(1,), rank=1, seed=6).test_matrix("omega", rows=8, columns=3)
    )


def test_test_matrices_have_no_preferred_sign() -> None:
    """Uniform over all orthonormal frames: the mean of many is near zero, of their squares near 1/rows."""
    draws = np.array(
        [
            ModulePlan(d=1, n=4, ranks=(1,), rank=1, seed=seed).test_matrix("omega", rows=4, columns=2)
            for seed in range(400)
        ]
    )
    assert np.abs(draws.mean(axis=0)).max() < 0.15
    assert np.allclose((draws**2).mean(axis=0), 0.25, atol=0.06)
