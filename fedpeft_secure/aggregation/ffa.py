"""FFA-LoRA: A stays at its random start, only B and the head are trained and sent.

The mean of products is exact, ΔW = (Σ p_k B_k) A; noise enters ΔW once instead of as a product; half the bytes. A
client of smaller rank holds the first rows of A, and the mean stays exact: its other slots are zero.

Source: Sun et al. 2024, *Improving LoRA in Privacy-preserving Federated Learning*, the section that
introduces FFA-LoRA.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Role, flatten
from fedpeft_secure.aggregation.base import MixedRanks, Reads, Weighing
from fedpeft_secure.aggregation.factors import Blocks, Factors, ModulePlan
from fedpeft_secure.aggregation.fedit import step_along
from fedpeft_secure.aggregation.low_rank import Pair
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class FFA:
    """Clients train B and the head; the server steps along their mean."""

    name: str = "ffa"
    reads: Reads = Reads.SUM
    mixed_ranks: MixedRanks = MixedRanks.SLOTS
    weighing: Weighing = Weighing.GIVEN

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """All but the factors A."""
        return spec.only((Role.LORA_B, Role.HEAD, Role.BODY))

    def encode(self, delta: Mapping[str, np.ndarray], spec: AdapterSpec) -> np.ndarray:
        """The change of B and the head, flat."""
        return flatten(AdapterState(delta), self.trainable(spec))

    def apply(
        self, state: AdapterState, mean: np.ndarray, spec: AdapterSpec, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """One server step on B and the head."""
        return step_along(state, mean, self.trainable(spec), optimizer)

    def encode_factors(self, factors: Factors, public: ModulePlan, sums: tuple[Blocks, ...]) -> Blocks:
        """B_k, its missing slots zero.

        Raises:
            ValueError: If the clients do not share A.
        """
        del sums
        common_a(public, self.name)
        return (factors.in_slots(public.slots).b,)

    def apply_sums(self, sums: tuple[Blocks, ...], public: ModulePlan) -> Pair:
        """The mean of B, and the A that all share."""
        ((b,),) = sums
        return b, common_a(public, self.name)


def common_a(public: ModulePlan, strategy: str) -> np.ndarray:
    """The A that all clients share.

    Raises:
        ValueError: If they do not, or the answer has no room for it.
    """
    if public.shared_a is None:
        raise ValueError(
            f"{strategy}: clients hold different A; every A_k must be (the first rows of) the same, or choose fedit"
        )
    if public.rank < public.largest_rank:
        raise ValueError(
            f"{strategy}: keeps the clients' rank {public.largest_rank}, above rank = {public.rank}; raise it, or "
            "choose flexlora"
        )
    return public.shared_a
