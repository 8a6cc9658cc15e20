"""FedEx-LoRA: the means of the factors, and what they miss of the mean product goes into the base weights.

ΔW = B̄ Ā + (Σ p_k B_k A_k − B̄ Ā): exact, at the bytes of the whole product. The residual has the shape of W, (d, n).

Source: Singhal et al. 2025, *FedEx-LoRA: Exact Aggregation for Federated and Efficient Fine-Tuning of Foundation
Models*, the section on exact aggregation by a residual.
"""

from dataclasses import dataclass

import numpy as np

from fedpeft_secure.aggregation.base import MixedRanks, Reads, Weighing
from fedpeft_secure.aggregation.factors import Blocks, Factors, ModulePlan
from fedpeft_secure.aggregation.low_rank import Pair, truncate


@dataclass(frozen=True, kw_only=True, slots=True)
class FedEx:
    """Clients send their factors and their product; the server corrects the means by the residual."""

    name: str = "fedex"
    reads: Reads = Reads.SUM
    mixed_ranks: MixedRanks = MixedRanks.SLOTS
    weighing: Weighing = Weighing.GIVEN

    def encode_factors(self, factors: Factors, public: ModulePlan, sums: tuple[Blocks, ...]) -> Blocks:
        """B_k and A_k, their missing slots zero, and B_k A_k."""
        del sums
        slotted = factors.in_slots(public.slots)
        return slotted.b, slotted.a, factors.product()

    def apply_sums(self, sums: tuple[Blocks, ...], public: ModulePlan) -> Pair:
        """Factors of means and residual together, of the rank that the sum can have at most."""
        ((b, a, product),) = sums
        return truncate(b @ a + residual(b, a, product), public.rank_of_sum)


def residual(b: np.ndarray, a: np.ndarray, product: np.ndarray) -> np.ndarray:
    """What the base weights W gain, shape (d, n): the mean product less the product of the means.

    Args:
        b: mean of B, shape (d, r).
        a: mean of A, shape (r, n).
        product: mean of B A, shape (d, n).
    """
    return product - b @ a
