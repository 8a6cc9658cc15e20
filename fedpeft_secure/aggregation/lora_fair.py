"""LoRA-FAIR: the mean of A stays, the mean of B is corrected so that their product comes closest to the mean product.

First sum: B̄, Ā. Second: C = Σ p_k B_k (A_k Āᵀ). The correction ΔB minimises ‖Σ p_k B_k A_k − (B̄ + ΔB) Ā‖_F, so
(B̄ + ΔB) Ā Āᵀ = C; among several solutions the smallest ΔB. The paper descends on a cosine similarity plus λ‖ΔB‖ with a
small λ; this is its limit λ → 0 for the Frobenius distance, in closed form, and needs products with Ā only.

Source: Bian et al. 2025, *LoRA-FAIR: Federated LoRA Fine-Tuning with Aggregation and Initialization Refinement*,
the section on the server's correction.
"""

from dataclasses import dataclass

import numpy as np

from fedpeft_secure.aggregation.base import MixedRanks, Reads, Weighing
from fedpeft_secure.aggregation.factors import Blocks, Factors, ModulePlan
from fedpeft_secure.aggregation.low_rank import Pair

RANK_TOLERANCE = 1e-12
"""Directions of Ā Āᵀ below this share of the largest are taken for rounding: B̄ is not corrected along them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoRAFair:
    """Clients send their factors, then their product on the mean of A."""

    name: str = "lora_fair"
    reads: Reads = Reads.TWO_SUMS
    mixed_ranks: MixedRanks = MixedRanks.REFUSED
    weighing: Weighing = Weighing.GIVEN

    def encode_factors(self, factors: Factors, public: ModulePlan, sums: tuple[Blocks, ...]) -> Blocks:
        """B_k and A_k; then B_k (A_k Āᵀ)."""
        del public
        if not sums:
            return factors.b, factors.a
        mean_a = sums[0][1]
        return (factors.b @ (factors.a @ mean_a.T),)

    def apply_sums(self, sums: tuple[Blocks, ...], public: ModulePlan) -> Pair:
        """The corrected mean of B, and the mean of A."""
        del public
        (mean_b, mean_a), (on_mean_a,) = sums
        gram = mean_a @ mean_a.T
        correction = (on_mean_a - mean_b @ gram) @ np.linalg.pinv(gram, rcond=RANK_TOLERANCE, hermitian=True)
        return mean_b + correction, mean_a
