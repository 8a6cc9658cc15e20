"""Fed-SB: between fixed B and A clients train an r × r core only, and the mean of cores is exact.

ΔW = B (Σ p_k R_k) A at r² values a module. B and A come from an SVD of a first gradient; they are public and never
change.

Source: Singhal et al. 2025, *Fed-SB: A Silver Bullet for Extreme Communication Efficiency and Performance in (Private)
Federated LoRA Fine-Tuning*, the section on the method.
"""

from dataclasses import dataclass

import numpy as np

from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.factors import Blocks, Factors


@dataclass(frozen=True, kw_only=True, slots=True)
class FedSB:
    """Clients send their core."""

    name: str = "fed_sb"
    reads: Reads = Reads.SUM

    def encode_core(self, core: np.ndarray) -> Blocks:
        """R_k, shape (r, r)."""
        return (core,)

    def apply_sum(self, mean: Blocks, fixed: Factors) -> Factors:
        """ΔW as factors B R̄ and A."""
        (core,) = mean
        return Factors(b=fixed.b @ core, a=fixed.a)
