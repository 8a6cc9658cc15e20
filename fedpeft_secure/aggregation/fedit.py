"""FedIT: the mean of every factor and of the head.

B ← Σ p_k B_k, A ← Σ p_k A_k. Inexact for products: mean(B)·mean(A) ≠ mean(BA) when clients train both factors for more
than a step.

Source: Zhang et al. 2024, *Towards Building the Federated GPT: Federated Instruction Tuning*, the section on
parameter-efficient federated tuning.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, flatten, unflatten
from fedpeft_secure.aggregation.base import MixedRanks, Reads, Weighing
from fedpeft_secure.aggregation.factors import Blocks, Factors, ModulePlan
from fedpeft_secure.aggregation.low_rank import Pair
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class FedIT:
    """Clients train B, A and the head; the server steps along the mean of each."""

    name: str = "fedit"
    reads: Reads = Reads.SUM
    mixed_ranks: MixedRanks = MixedRanks.REFUSED
    weighing: Weighing = Weighing.GIVEN

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """Everything."""
        return spec

    def encode(self, delta: Mapping[str, np.ndarray], spec: AdapterSpec) -> np.ndarray:
        """The change of all tensors, flat."""
        return flatten(AdapterState(delta), self.trainable(spec))

    def apply(
        self, state: AdapterState, mean: np.ndarray, spec: AdapterSpec, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """One server step on the flat adapter."""
        return step_along(state, mean, self.trainable(spec), optimizer)

    def encode_factors(self, factors: Factors, public: ModulePlan, sums: tuple[Blocks, ...]) -> Blocks:
        """B_k and A_k."""
        del public, sums
        return factors.b, factors.a

    def apply_sums(self, sums: tuple[Blocks, ...], public: ModulePlan) -> Pair:
        """The two means."""
        del public
        ((b, a),) = sums
        return b, a


def step_along(
    state: AdapterState, mean: np.ndarray, trained: AdapterSpec, optimizer: ServerOptimizer
) -> tuple[AdapterState, ServerOptimizer]:
    """One server step on the tensors of `trained`; the others stay."""
    values, optimizer = optimizer.step(flatten(state, trained), mean)
    return state.replace(unflatten(values, trained)), optimizer
