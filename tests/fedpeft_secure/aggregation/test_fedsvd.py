from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Role, flatten, unflatten
from fedpeft_secure.aggregation import Reads, combine
from fedpeft_secure.aggregation.fedsvd import FedSVD, orthogonalise
from fedpeft_secure.aggregation.ffa import FFA
from fedpeft_secure.aggregation.server_optimizers import FedAdamW, FedAvg

Shapes = tuple[int, int, int]
shapes = st.integers(1, 4).flatmap(lambda r: st.tuples(st.integers(r, 9), st.integers(r, 9), st.just(r)))


def factors(shape: Shapes, seed: int) -> tuple[np.ndarray, np.ndarray]:
    d, n, r = shape
    rng = np.random.default_rng(seed)
    return rng.standard_normal((d, r)), rng.standard_normal((r, n))


@given(shape=shapes, seed=st.integers(0, 10_000))
def test_the_product_stays_and_a_becomes_orthonormal(shape: Shapes, seed: int) -> None:
    b, a = factors(shape, seed)
    found = orthogonalise(b, a)
    assert found is not None
    new_b, new_a, turn = found
    assert (new_b.shape, new_a.shape, turn.shape) == (b.shape, a.shape, (shape[2], shape[2]))
    assert np.allclose(new_b @ new_a, b @ a, atol=1e-9)
    assert np.allclose(new_a @ new_a.T, np.eye(shape[2]), atol=1e-9)


@given(shape=shapes, seed=st.integers(0, 10_000))
def test_columns_of_b_are_orthogonal_and_sorted_by_singular_value(shape: Shapes, seed: int) -> None:
    b, a = factors(shape, seed)
    found = orthogonalise(b, a)
    assert found is not None
    gram = found[0].T @ found[0]
    values = np.linalg.svd(b @ a, compute_uv=False)[: shape[2]]
    assert np.allclose(gram, np.diag(values**2), atol=1e-8 * values[0] ** 2)


@given(shape=shapes, seed=st.integers(0, 10_000))
def test_gradients_turn_as_finite_differences_say(shape: Shapes, seed: int) -> None:
    """For any loss of B A: its gradient in the new B is the gradient in the old B times R⁻ᵀ."""
    b, a = factors(shape, seed)
    rng = np.random.default_rng(seed + 1)
    target, scale = rng.standard_normal((shape[0], shape[1])), rng.uniform(0.5, 2, (shape[0], shape[1]))

    def loss(left: np.ndarray, right: np.ndarray) -> float:
        return float((scale * np.sin(left @ right - target)).sum())

    found = orthogonalise(b, a)
    assert found is not None
    new_b, new_a, turn = found
    before = numeric_gradient(lambda left: loss(left, a), b)
    after = numeric_gradient(lambda left: loss(left, new_a), new_b)
    assert np.allclose(before @ turn, after, atol=1e-5 * max(1.0, np.abs(turn).max()))


def numeric_gradient(loss, at: np.ndarray, width: float = 1e-6) -> np.ndarray:
    gradient = np.empty_like(at)
    for index in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[index] = width
        gradient[index] = (loss(at + step) - loss(at - step)) / (2 * width)
    return gradient


@given(shape=shapes, seed=st.integers(0, 10_000))
def test_b_turns_by_the_inverse_of_its_gradients(shape: Shapes, seed: int) -> None:
    """B' = B R, so that (R⁻ᵀ)ᵀ undoes it: a step and its gradient keep their inner product."""
    b, a = factors(shape, seed)
    found = orthogonalise(b, a)
    assert found is not None
    new_b, _, turn = found
    assert np.allclose(new_b @ turn.T, b, atol=1e-6 * max(1.0, np.abs(turn).max()))


def test_factors_without_full_rank_are_left_alone() -> None:
    _, a = factors((5, 4, 2), 0)
    assert orthogonalise(np.zeros((5, 2)), a) is None
    one = np.outer(np.arange(1.0, 6), [1, 2])
    assert orthogonalise(one, a) is None


def test_the_first_round_leaves_zero_factors_unturned(spec: AdapterSpec, state: AdapterState) -> None:
    zeros = {spec.name_of(module, Role.LORA_B): np.zeros((6, 2)) for module in spec.modules}
    start = state.replace(zeros)
    trained = FedSVD().trainable(spec)
    new, _ = FedSVD().apply(start, np.zeros(trained.size), spec, FedAvg(learning_rate=1.0))
    assert all((new[name] == start[name]).all() for name in spec.names)


def test_clients_do_what_ffas_do(spec: AdapterSpec, change: AdapterState) -> None:
    assert FedSVD().trainable(spec) == FFA().trainable(spec)
    assert (FedSVD().encode(change.values, spec) == FFA().encode(change.values, spec)).all()
    assert (FedSVD().name, FedSVD().reads) == ("fedsvd", Reads.SUM)


def test_a_step_gives_ffas_product_in_other_factors(
    spec: AdapterSpec, state: AdapterState, change: AdapterState
) -> None:
    mean = FedSVD().encode(change.values, spec)
    svd, _ = FedSVD().apply(state, mean, spec, FedAvg(learning_rate=0.3))
    ffa, _ = FFA().apply(state, mean, spec, FedAvg(learning_rate=0.3))
    for module in spec.modules:
        a, b = spec.name_of(module, Role.LORA_A), spec.name_of(module, Role.LORA_B)
        assert np.allclose(svd[b] @ svd[a], ffa[b] @ ffa[a], atol=1e-4)
        assert np.allclose(svd[a] @ svd[a].T, np.eye(2), atol=1e-5)
        assert not np.allclose(svd[a], ffa[a])
    assert (svd["head.weight"] == ffa["head.weight"]).all()


def test_the_optimisers_memory_turns_with_b_and_the_heads_stays(
    spec: AdapterSpec, state: AdapterState, change: AdapterState
) -> None:
    trained = FedSVD().trainable(spec)
    mean = FedSVD().encode(change.values, spec)
    optimizer = FedAdamW(learning_rate=0.1)
    svd, turned = FedSVD().apply(state, mean, spec, optimizer)
    ffa, plain = FFA().apply(state, mean, spec, optimizer)
    before, after = (
        {key: unflatten(found.arrays()[key], trained) for key in ("mean", "square")} for found in (plain, turned)
    )
    for module in spec.modules:
        a, b = spec.name_of(module, Role.LORA_A), spec.name_of(module, Role.LORA_B)
        found = orthogonalise(ffa[b], ffa[a])
        assert found is not None
        assert np.allclose(after["mean"][b], before["mean"][b] @ found[2], rtol=1e-4)
        assert np.allclose(after["square"][b], before["square"][b] @ found[2] ** 2, rtol=1e-4)
        assert (after["square"][b] >= 0).all()
        assert np.allclose(svd[b], found[0], atol=1e-5)
    assert (after["mean"]["head.weight"] == before["mean"]["head.weight"]).all()
    assert (after["square"]["head.weight"] == before["square"]["head.weight"]).all()


def test_turning_is_post_processing_of_what_was_released(spec: AdapterSpec, state: AdapterState) -> None:
    """The same state and mean always give the same adapter: nothing else enters."""
    mean = np.linspace(-1, 1, FedSVD().trainable(spec).size)
    one, two = (FedSVD().apply(state, mean, spec, FedAdamW(learning_rate=0.1))[0] for _ in range(2))
    assert one.digest() == two.digest()
    assert (flatten(one, spec) == flatten(two, spec)).all()


@pytest.mark.parametrize("rounds", [5])
def test_many_rounds_stay_finite(rounds: int, spec: AdapterSpec, state: AdapterState) -> None:
    optimizer = FedAdamW(learning_rate=0.05)
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        state, optimizer = FedSVD().apply(state, rng.standard_normal(FedSVD().trainable(spec).size), spec, optimizer)
    assert np.isfinite(flatten(state, spec)).all()
    assert all(np.isfinite(array).all() for array in optimizer.arrays().values())


@pytest.mark.parametrize(("d", "n", "rank"), [(6, 9, 3), (9, 6, 2), (2, 6, 3)])
def test_on_factors_it_is_the_svd_of_ffas_product(
    d: int, n: int, rank: int, make_clients: Callable, mean_product: Callable
) -> None:
    pairs, weights = make_clients(0, d, n, (rank,) * 3)
    shared = [(b, pairs[0][1]) for b, _ in pairs]
    b, a = combine("fedsvd", shared, weights=weights, rank=rank)
    assert np.allclose(b @ a, mean_product(shared, weights), atol=1e-10)
    if rank <= d:
        values = np.linalg.svd(b @ a, compute_uv=False)[:rank]
        assert np.allclose(b.T @ b, np.diag(values**2), atol=1e-8)
        assert np.allclose(a @ a.T, np.eye(rank))


def test_on_factors_that_have_not_moved_a_stays(make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 6, 9, (2, 2))
    b, a = combine("fedsvd", [(0 * b, pairs[0][1]) for b, _ in pairs], weights=weights, rank=2)
    assert (b == 0).all()
    assert np.array_equal(a, pairs[0][1])
