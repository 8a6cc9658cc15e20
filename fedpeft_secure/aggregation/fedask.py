"""FedASK: the randomised SVD of the mean product, in two sums.

First sum: Y = Σ p_k B_k (A_k Ω), Q = qr(Y). Second: P = Σ p_k A_kᵀ (B_kᵀ Q); (B, A) from SVD_r(Q Pᵀ). The best answer
of rank r when Ω has at least as many columns as the sum has ranks.

Source: Wen et al. 2025, *Differentially Private Federated Low Rank Adaptation Beyond Fixed-Matrix*, the section
on two-stage sketching; Halko, Martinsson, Tropp 2011, *Finding Structure with Randomness*, Algorithms 4.1 and 5.1.
"""

from dataclasses import dataclass

import numpy as np

from fedpeft_secure.aggregation.base import MixedRanks, Reads, Weighing
from fedpeft_secure.aggregation.factors import Blocks, Factors, ModulePlan
from fedpeft_secure.aggregation.low_rank import Pair, truncate_factors

OVERSAMPLING = 6
"""Columns of Ω beyond the rank that they must catch, at least: without a few, rounding is blown up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FedASK:
    """Clients send their product on a random matrix, then on the basis that the server found."""

    name: str = "fedask"
    reads: Reads = Reads.TWO_SUMS
    mixed_ranks: MixedRanks = MixedRanks.DENSE
    weighing: Weighing = Weighing.GIVEN

    def columns(self, public: ModulePlan) -> int:
        """Columns of Ω: twice the rank of the answer, but not many more than the sum can have ranks."""
        wanted = max(2 * public.rank, public.rank + OVERSAMPLING)
        return min(wanted, public.rank_of_sum + OVERSAMPLING, public.d, public.n)

    def encode_factors(self, factors: Factors, public: ModulePlan, sums: tuple[Blocks, ...]) -> Blocks:
        """B_k (A_k Ω); then A_kᵀ (B_kᵀ Q)."""
        if not sums:
            omega = public.test_matrix("fedask", rows=public.n, columns=self.columns(public))
            return (factors.b @ (factors.a @ omega),)
        return (factors.a.T @ (factors.b.T @ _basis(sums)),)

    def apply_sums(self, sums: tuple[Blocks, ...], public: ModulePlan) -> Pair:
        """The best factors of Q Pᵀ."""
        return truncate_factors(_basis(sums), sums[1][0].T, public.rank_of_answer)


def _basis(sums: tuple[Blocks, ...]) -> np.ndarray:
    """Q: everybody computes it from the same first sum, with one sign whatever library does."""
    basis, triangle = np.linalg.qr(sums[0][0])
    signed: np.ndarray = basis * np.where(np.diag(triangle) < 0, -1.0, 1.0)
    return signed
