from collections.abc import Callable

import numpy as np
import pytest

import secagg
from fedpeft_secure.aggregation import Reads, combine, combine_module
from fedpeft_secure.aggregation.factors import Factors, ModulePlan
from fedpeft_secure.aggregation.product_sketch import (
    ProductSketch,
    Reconstruction,
    SketchSize,
    onto_sketches,
    reconstruct,
    sketch_size,
)

D, N = 70, 50


def sketched(product: np.ndarray, *, side: int, rank: int, seed: int = 0, rows: int | None = None) -> Reconstruction:
    """What the server makes of the sketches of a dense matrix."""
    d, n = product.shape
    public = ModulePlan(d=d, n=n, ranks=(rank,), rank=rank, seed=seed)
    omega = public.test_matrix("omega", rows=n, columns=side)
    psi = public.test_matrix("psi", rows=d, columns=rows or side).T
    return reconstruct(product @ omega, psi @ product, omega=omega, psi=psi, rank=rank)


def decaying(seed: int, decay: float, *, flat: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((side, N)))[0] for side in (D, N))
    return (left * decay ** np.arange(N)) @ right.T + flat * rng.standard_normal((D, N))


def best_error(product: np.ndarray, rank: int) -> float:
    return float(np.linalg.norm(np.linalg.svd(product, compute_uv=False)[rank:]))


def drifted(seed: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """384 × 384, 20 clients of ranks 2 to 16 that drifted from the same factors of falling strength."""
    rng = np.random.default_rng(seed)
    ranks = [2, 16, *rng.integers(2, 17, 18)]
    b, a = rng.standard_normal((384, 16)), rng.standard_normal((16, 384))
    strength = 0.82 ** (np.arange(16) / 2)
    pairs = [
        (
            b[:, :r] * strength[:r] + 0.12 * rng.standard_normal((384, r)),
            a[:r] * strength[:r, None] + 0.12 * rng.standard_normal((r, 384)),
        )
        for r in ranks
    ]
    return pairs, rng.uniform(1, 4, 20)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("secure_sum", [None, "plain"])
def test_near_the_best_answer_at_three_times_the_factors(
    seed: int, secure_sum: str | None, mean_product: Callable
) -> None:
    pairs, weights = drifted(seed)
    product = mean_product(pairs, weights)
    found = combine_module("product_sketch", pairs, weights=weights, rank=16, seed=seed, secure_sum=secure_sum)
    error = np.linalg.norm(product - found.b @ found.a)
    assert error <= 1.5 * best_error(product, 16)
    assert sum(found.values_sent) <= 3.1 * 16 * (384 + 384)
    assert found.relative_error == pytest.approx(error / np.linalg.norm(product), rel=0.15)
    padded = combine("hetlora", pairs, weights=weights, rank=16)
    assert error < 0.2 * np.linalg.norm(product - padded[0] @ padded[1])


@pytest.mark.parametrize("seed", range(2))
def test_independent_factors_of_a_flat_spectrum(seed: int, make_clients: Callable, mean_product: Callable) -> None:
    pairs, weights = make_clients(seed, 384, 384, [2, 16, *np.random.default_rng(seed).integers(2, 17, 18)])
    product = mean_product(pairs, weights)
    b, a = combine("product_sketch", pairs, weights=weights, rank=16, seed=seed)
    assert np.linalg.norm(product - b @ a) <= 1.5 * best_error(product, 16)


def test_a_decaying_tail_costs_a_tenth() -> None:
    ratios = []
    for seed in range(10):
        product = decaying(seed, 0.85)
        found = sketched(product, side=24, rank=8, seed=seed)
        ratios.append(np.linalg.norm(product - found.b @ found.a) / best_error(product, 8))
    assert np.mean(ratios) == pytest.approx(1.11, abs=0.05)


@pytest.mark.parametrize("ranks", [(1, 2, 2), (3, 3, 3, 3), (1, 5, 2, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_exact_where_the_sketch_holds_the_sum(
    ranks: tuple[int, ...], seed: int, make_clients: Callable, mean_product: Callable
) -> None:
    pairs, weights = make_clients(seed, 90, 80, ranks)
    product, total = mean_product(pairs, weights), sum(ranks)
    for rank in (total, total // 2 + 1):
        found = combine_module("product_sketch", pairs, weights=weights, rank=rank, seed=seed)
        assert found.values_sent[0] < 90 * 80
        excess = np.linalg.norm(product - found.b @ found.a) - best_error(product, rank)
        assert excess < 1e-10 * np.linalg.norm(product)


@pytest.mark.parametrize("secure_sum", ["plain", "masked"])
@pytest.mark.parametrize("side", [24, 27])
def test_16_bits_cost_little(secure_sum: str, side: int, make_clients: Callable, mean_product: Callable) -> None:
    """A sketch of the rank of the sum and six, the least that is promised, and what is chosen by itself."""
    pairs, _ = make_clients(4, 90, 80, (2, 6, 3, 1, 2, 4))
    weights = np.array([1, 50, 20, 7, 33, 2])
    product = mean_product(pairs, weights)
    if side == 24:
        found = combine_module("product_sketch", pairs, weights=weights, rank=18, secure_sum=secure_sum)
        assert found.values_sent == (24 * 170,)
        error = np.linalg.norm(product - found.b @ found.a) / np.linalg.norm(product)
        assert found.relative_error == pytest.approx(error, rel=1)
    else:
        b, a = combine("product_sketch", pairs, weights=weights, rank=9, secure_sum=secure_sum)
        error = (np.linalg.norm(product - b @ a) - best_error(product, 9)) / np.linalg.norm(product)
    assert error < 5e-3


def test_16_bits_at_full_size(make_clients: Callable, mean_product: Callable) -> None:
    """The hard end: 20 clients whose ranks add up to a large part of the module."""
    ranks = np.random.default_rng(0).integers(2, 17, 20)
    pairs, _ = make_clients(0, 384, 384, ranks)
    weights = np.random.default_rng(1).integers(1, 50, 20)
    product = mean_product(pairs, weights)
    b, a = combine("product_sketch", pairs, weights=weights, rank=int(ranks.sum()), secure_sum=secagg.PlainSum())
    assert np.linalg.norm(product - b @ a) < 5e-3 * np.linalg.norm(product)


def test_with_every_direction_it_is_the_sources_formula_moved_onto_the_sketches() -> None:
    """Q (Ψ Q)⁺ Z, then the nearest matrix with both sketches, by a least-squares solver on all entries."""
    rng = np.random.default_rng(0)
    product, side, rows = rng.standard_normal((8, 3)) @ rng.standard_normal((3, 7)), 3, 5
    product += 0.01 * rng.standard_normal(product.shape)
    public = ModulePlan(d=8, n=7, ranks=(3,), rank=3)
    omega = public.test_matrix("omega", rows=7, columns=side)
    psi = public.test_matrix("psi", rows=8, columns=rows).T
    found = reconstruct(product @ omega, psi @ product, omega=omega, psi=psi, rank=7)
    assert found.kept == 3
    basis = np.linalg.qr(product @ omega)[0]
    start = basis @ np.linalg.pinv(psi @ basis) @ psi @ product
    constraints = np.vstack([np.kron(psi, np.eye(7)), np.kron(np.eye(8), omega.T)])
    change = np.linalg.lstsq(constraints, constraints @ (product - start).reshape(-1), rcond=1e-10)[0]
    want = start + change.reshape(8, 7)
    assert np.allclose(found.b @ found.a, want, atol=1e-10)
    assert np.linalg.norm(product - want) < np.linalg.norm(product - start)


def test_moving_onto_the_sketches_finds_the_nearest_matrix_that_has_them() -> None:
    rng = np.random.default_rng(0)
    product, left, right = (rng.standard_normal(shape) for shape in ((8, 7), (8, 2), (2, 7)))
    public = ModulePlan(d=8, n=7, ranks=(3,), rank=3)
    omega = public.test_matrix("omega", rows=7, columns=3)
    psi = public.test_matrix("psi", rows=8, columns=4).T
    moved_b, moved_a = onto_sketches(left, right, product @ omega, psi @ product, omega=omega, psi=psi)
    constraints = np.vstack([np.kron(psi, np.eye(7)), np.kron(np.eye(8), omega.T)])
    start = left @ right
    change = np.linalg.lstsq(constraints, constraints @ (product - start).reshape(-1), rcond=1e-10)[0]
    assert np.allclose(moved_b @ moved_a, start + change.reshape(8, 7), atol=1e-12)


@pytest.mark.parametrize(("decay", "flat"), [(0.5, 1e-3), (0.8, 0.0), (0.9, 1e-2), (0.5, 0.0)])
def test_the_error_is_estimated_from_the_sketches_alone(decay: float, flat: float) -> None:
    ratios = []
    for seed in range(20):
        product = decaying(seed, decay, flat=flat)
        found = sketched(product, side=15, rank=5, seed=seed)
        ratios.append(found.error / np.linalg.norm(product - found.b @ found.a))
        assert found.norm == pytest.approx(np.linalg.norm(product), rel=0.1)
    assert 0.9 < np.mean(ratios) < 1.25
    assert min(ratios) > 0.6
    assert max(ratios) < 1.7


def test_the_estimate_of_what_is_missed_has_no_bias() -> None:
    """Whatever Y holds, here a poor basis: the mean over Ψ of the squared estimate is the squared error."""
    product = decaying(0, 0.9)
    basis = np.linalg.qr(np.random.default_rng(1).standard_normal((D, 3)))[0]
    truth = np.linalg.norm(product - basis @ (basis.T @ product)) ** 2
    found = []
    for seed in range(200):
        psi = ModulePlan(d=D, n=N, ranks=(1,), rank=1, seed=seed).test_matrix("psi", rows=D, columns=9).T
        seen = psi @ product
        inside = np.linalg.qr(psi @ basis)[0]
        found.append(np.linalg.norm(seen - inside @ (inside.T @ seen)) ** 2 * (D - 3) / (9 - 3))
    assert np.mean(found) == pytest.approx(truth, rel=0.05)


def test_directions_are_kept_where_the_spectrum_decays_and_dropped_where_it_is_flat() -> None:
    flat = (
        np.diag(np.r_[np.full(5, 1e3), np.ones(N - 5)]) @ np.linalg.qr(np.random.default_rng(0).normal(size=(N, N)))[0]
    )
    assert sketched(flat, side=15, rank=5).kept <= 6
    assert sketched(decaying(0, 0.4), side=15, rank=5).kept >= 8


def test_square_sketches_beat_the_sources_split_at_equal_bytes() -> None:
    errors = {}
    for side, rows in ((15, 15), (10, 20)):
        products = [decaying(seed, 0.3, flat=1e-3) for seed in range(30)]
        found = [sketched(own, side=side, rows=rows, rank=5, seed=seed) for seed, own in enumerate(products)]
        errors[side] = np.mean(
            [np.linalg.norm(m - f.b @ f.a) / best_error(m, 5) for m, f in zip(products, found, strict=True)]
        )
    assert errors[15] < errors[10]


@pytest.mark.parametrize(
    ("ranks", "rank", "d", "n", "side"),
    [
        ((16,) * 20, 16, 384, 384, 49),  # 3.1 times the rank
        ((8,) * 20, 2, 384, 384, 8),  # at least six above it
        ((2, 3), 16, 384, 384, 11),  # the sum has rank 5 at most
        ((40, 40), 40, 384, 384, 90),  # ... 80: an eighth more
        ((16,) * 20, 16, 20, 24, 26),  # the module itself is small
    ],
)
def test_the_size_follows_ranks_and_cohort(ranks: tuple[int, ...], rank: int, d: int, n: int, side: int) -> None:
    public = ModulePlan(d=d, n=n, ranks=ranks, rank=rank)
    assert sketch_size(public) == SketchSize(columns=side, rows=side)


def test_where_the_product_is_smaller_it_is_sent_itself(make_clients: Callable, mean_product: Callable) -> None:
    pairs, weights = make_clients(0, 12, 9, (3, 2, 4))
    found = combine_module("product_sketch", pairs, weights=weights, rank=4)
    product = mean_product(pairs, weights)
    assert found.values_sent == (12 * 9,)
    assert np.linalg.norm(product - found.b @ found.a) == pytest.approx(best_error(product, 4))
    assert found.relative_error == pytest.approx(best_error(product, 4) / np.linalg.norm(product))


@pytest.mark.parametrize("secure_sum", [None, "plain"])
def test_clients_that_have_not_moved(secure_sum: str | None) -> None:
    still = [(np.zeros((60, 2)), np.ones((2, 50)))] * 3
    found = combine_module("product_sketch", still, weights=[1, 2, 3], rank=2, secure_sum=secure_sum)
    assert (found.b @ found.a == 0).all()
    assert (found.b.shape, found.a.shape, found.relative_error) == ((60, 2), (2, 50), 0.0)


def test_nobodys_rank_shows_in_what_it_sends(make_clients: Callable) -> None:
    pairs, _ = make_clients(0, 60, 50, (1, 8))
    strategy, public = ProductSketch(), ModulePlan(d=60, n=50, ranks=(1, 8), rank=4)
    assert strategy.reads is Reads.SUM
    small, large = (strategy.encode_factors(Factors(b=b, a=a), public, ()) for b, a in pairs)
    assert [block.shape for block in small] == [block.shape for block in large] == [(60, 12), (12, 50)]
    assert all((block != 0).all() for block in small)
