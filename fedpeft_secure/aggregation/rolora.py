"""RoLoRA: B and A are trained and averaged in turn, the other one frozen, so that the mean of products is exact.

Odd rounds: ΔW = (Σ p_k B_k) A; even rounds: ΔW = B (Σ p_k A_k). What is sent depends on the round, so this is no
function of the factors alone.

Source: Chen et al. 2024, *Robust Federated Finetuning of Foundation Models via Alternating Minimization of LoRA*,
the section on the algorithm.
"""

from dataclasses import dataclass, replace
from typing import Self

from fedpeft_secure.adapters import Role
from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.factors import Blocks, Factors


@dataclass(frozen=True, kw_only=True, slots=True)
class RoLoRA:
    """One round: clients train and send the factor `trained`."""

    trained: Role = Role.LORA_B
    name: str = "rolora"
    reads: Reads = Reads.SUM

    def encode_factors(self, factors: Factors) -> Blocks:
        """The trained factor."""
        return (factors.b if self.trained is Role.LORA_B else factors.a,)

    def apply_sum(self, mean: Blocks, shared: Factors) -> tuple[Factors, Self]:
        """The mean of the trained factor beside the frozen one of `shared`, and the next round."""
        (trained,) = mean
        if self.trained is Role.LORA_B:
            return Factors(b=trained, a=shared.a), replace(self, trained=Role.LORA_A)
        return Factors(b=shared.b, a=trained), replace(self, trained=Role.LORA_B)
