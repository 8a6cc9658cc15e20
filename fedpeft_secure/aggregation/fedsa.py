"""FedSA-LoRA: the mean of A is shared, every client keeps a B of its own.

ΔW_k = B_k (Σ p_j A_j): a model for each client, and half the bytes. Under DP a B that has seen data without noise must
not enter a release, so B, too, must come from noised gradients.

Source: Guo et al. 2025, *Selective Aggregation for Low-Rank Adaptation in Federated Learning*, the section on
FedSA-LoRA.
"""

from dataclasses import dataclass

from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.factors import Blocks, Factors


@dataclass(frozen=True, kw_only=True, slots=True)
class FedSA:
    """Clients send A."""

    name: str = "fedsa"
    reads: Reads = Reads.SUM

    def encode_factors(self, factors: Factors) -> Blocks:
        """A_k."""
        return (factors.a,)

    def apply_sum(self, mean: Blocks, own: Factors) -> Factors:
        """A client's next factors: its own B and the mean of A."""
        (a,) = mean
        return Factors(b=own.b, a=a)
