"""HetLoRA: zero-padded means, weighed by how much each client has moved, cut to the wanted rank.

B = Σ w_k B_k / Σ w_k and A = Σ w_k A_k / Σ w_k with w_k = ‖B_k A_k‖_F, missing slots zero; the paper's weights replace
those of example counts. Only the sums of w_k B_k, w_k A_k and w_k are read. Inexact as FedIT is, and slots that few
clients fill are pulled towards zero.

Guarantee: a client's weight is bounded by the range that all agreed on, so that nobody can claim a larger one.
Does not cover: DP. The weight is a function of the client's data, and dividing by a noisy Σ w_k is biased.
Source: Cho et al. 2024, *Heterogeneous LoRA for Federated Fine-tuning of On-Device Foundation Models*, the
section on sparsity-weighted aggregation (self-pruning is the client's affair).
"""

from dataclasses import dataclass

import numpy as np

from fedpeft_secure.aggregation.base import MixedRanks, Reads, Weighing
from fedpeft_secure.aggregation.factors import Blocks, Factors, ModulePlan
from fedpeft_secure.aggregation.low_rank import Pair


@dataclass(frozen=True, kw_only=True, slots=True)
class HetLoRA:
    """Clients weigh themselves; the server divides by the sum of the weights."""

    name: str = "hetlora"
    reads: Reads = Reads.SUM
    mixed_ranks: MixedRanks = MixedRanks.SLOTS
    weighing: Weighing = Weighing.OWN

    def encode_factors(self, factors: Factors, public: ModulePlan, sums: tuple[Blocks, ...]) -> Blocks:
        """w_k B_k, w_k A_k and w_k, missing slots zero."""
        del sums
        weight, slotted = factors.norm(), factors.in_slots(public.slots)
        return weight * slotted.b, weight * slotted.a, np.array([weight])

    def apply_sums(self, sums: tuple[Blocks, ...], public: ModulePlan) -> Pair:
        """The weighed means, in the first `public.rank` slots.

        Raises:
            ValueError: If no client has moved: there is nothing to weigh by.
        """
        ((b, a, weight),) = sums
        if not weight[0] > 0:
            raise ValueError(f"{self.name}: every product B_k A_k is zero: nothing to weigh by; train first")
        mean = Factors(b=b / weight[0], a=a / weight[0]).in_slots(public.rank_of_answer)
        return mean.b, mean.a
