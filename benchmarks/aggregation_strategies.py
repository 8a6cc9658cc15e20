"""Aggregation strategies on given factors: error of the product and values sent, as in docs/aggregation.md.

    python benchmarks/aggregation_strategies.py

One module of 384 × 384 and 20 clients. Each starts from the first slots of the same factors, whose strength falls from
slot to slot, and drifts; ranks are mixed (2 to 16) or all 8. Errors are relative to the mean product, in the Frobenius
norm; "of the best" compares with the best answer of the same rank. Prints the tables of the page.
"""

from collections.abc import Sequence

import numpy as np

from fedpeft_secure.aggregation import combine_module
from fedpeft_secure.aggregation.factors import ModulePlan, read_factors
from fedpeft_secure.aggregation.low_rank import truncate
from fedpeft_secure.aggregation.product_sketch import ProductSketch, SketchSize
from fedpeft_secure.aggregation.sums import ExactSums, run_sums

WIDTH, CLIENTS, RANK = 384, 20, 16
DECAY, DRIFT = 0.82, 0.12
SEEDS = range(5)
EXACT = 1e-12
Factors = list[tuple[np.ndarray, np.ndarray]]
MIXED = ("product_sketch", "fedask", "flexlora", "fedex", "flora", "hetlora")
EQUAL = ("fedit", "ffa", "fedsvd", "hetlora", "lora_fair", "product_sketch", "fedask", "flexlora", "fedex", "flora")


def case(seed: int, ranks: Sequence[int], *, shared_a: bool = False) -> tuple[Factors, np.ndarray]:
    """The clients' factors, and weights between 1 and 4."""
    rng = np.random.default_rng(seed)
    b, a = rng.standard_normal((WIDTH, RANK)), rng.standard_normal((RANK, WIDTH))
    strength = DECAY ** (np.arange(RANK) / 2)
    drift = 0.0 if shared_a else DRIFT
    factors = [
        (
            b[:, :rank] * strength[:rank] + DRIFT * rng.standard_normal((WIDTH, rank)),
            a[:rank] * strength[:rank, None] + drift * rng.standard_normal((rank, WIDTH)),
        )
        for rank in ranks
    ]
    return factors, rng.uniform(1, 4, len(ranks))


def mixed_ranks(seed: int) -> list[int]:
    """20 ranks from 2 to 16, both ends among them."""
    return [2, 16, *np.random.default_rng(1000 + seed).integers(2, 17, CLIENTS - 2).tolist()]


def mean_product(factors: Factors, weights: np.ndarray) -> np.ndarray:
    """Σ p_k B_k A_k."""
    return sum(share * (b @ a) for share, (b, a) in zip(weights / weights.sum(), factors, strict=True))


def errors(product: np.ndarray, b: np.ndarray, a: np.ndarray, rank: int) -> tuple[float, float]:
    """The relative error of B A, and as a multiple of the best at `rank`."""
    best_b, best_a = truncate(product, rank)
    error, best = np.linalg.norm(product - b @ a), np.linalg.norm(product - best_b @ best_a)
    return float(error / np.linalg.norm(product)), float(error / best)


def strategy_rows(strategies: Sequence[str], *, mixed: bool) -> list[tuple[str, float, float, float]]:
    """Name, relative error, multiple of the best, values sent as a multiple of the factors'; means over seeds."""
    rows = []
    rank = RANK if mixed else 8
    for strategy in strategies:
        found = []
        for seed in SEEDS:
            ranks = mixed_ranks(seed) if mixed else [8] * CLIENTS
            factors, weights = case(seed, ranks, shared_a=strategy in ("ffa", "fedsvd"))
            combined = combine_module(strategy, factors, weights=weights, rank=rank, seed=seed)
            sent = sum(combined.values_sent) / (rank * 2 * WIDTH)
            found.append((*errors(mean_product(factors, weights), combined.b, combined.a, rank), sent))
        rows.append((strategy, *np.mean(found, axis=0).tolist()))
    return rows


def sketch_rows(sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int, float, float, float, float]]:
    """s, l, multiple of the best by the source's formula and by ours, our estimate of ours, values sent."""
    rows = []
    for columns, height in sizes:
        found = []
        for seed in SEEDS:
            factors, weights = case(seed, mixed_ranks(seed))
            product = mean_product(factors, weights)
            strategy = ProductSketch(size=SketchSize(columns=columns, rows=height))
            clients = {f"{number:02d}": client for number, client in enumerate(read_factors(factors))}
            ranks = tuple(client.rank for client in clients.values())
            public = ModulePlan(d=WIDTH, n=WIDTH, ranks=ranks, rank=RANK, seed=seed)
            sums = run_sums(strategy, clients, public, ExactSums(weights=dict(zip(clients, weights, strict=True))))
            ours = strategy.reconstruct(sums, public)
            _, by_ours = errors(product, ours.b, ours.a, RANK)
            _, by_source = errors(product, *source_formula(product, columns, height, seed), RANK)
            _, best = errors(product, np.zeros((WIDTH, 1)), np.zeros((1, WIDTH)), RANK)
            found.append((by_source, by_ours, ours.relative_error * best, (columns + height) / (2 * RANK)))
        rows.append((columns, height, *np.mean(found, axis=0).tolist()))
    return rows


def source_formula(product: np.ndarray, columns: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Q = qr(Y), SVD_r of Q (Ψ Q)⁺ Z with Gaussian Ω and Ψ."""
    rng = np.random.default_rng(seed)
    omega, psi = rng.standard_normal((WIDTH, columns)), rng.standard_normal((rows, WIDTH))
    basis = np.linalg.qr(product @ omega)[0]
    solution = np.linalg.lstsq(psi @ basis, psi @ product, rcond=None)[0]
    b, a = truncate(solution, RANK)
    return basis @ b, a


def main() -> None:
    """Prints the tables."""
    for mixed, strategies in ((True, MIXED), (False, EQUAL)):
        print("| strategy | relative error | of the best | values sent / factors |\n|---|---|---|---|")
        for name, error, ratio, sent in strategy_rows(strategies, mixed=mixed):
            shown = f"{error:.2g} | {ratio:.2f}" if error > EXACT else "exact | exact"
            print(f"| {name} | {shown} | {sent:.2f} |")
        print()
    print("| s | l | source's formula | ours | ours, estimated | values sent / factors |\n|---|---|---|---|---|---|")
    for columns, rows, by_source, by_ours, estimate, sent in sketch_rows([(32, 65), (49, 49), (48, 97), (64, 64)]):
        print(f"| {columns} | {rows} | {by_source:.2f} | {by_ours:.2f} | {estimate:.2f} | {sent:.2f} |")


if __name__ == "__main__":
    main()
