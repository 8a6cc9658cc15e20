"""FedIT: the mean of every factor and of the head (Zhang et al. 2024, *Towards Building the Federated GPT*).

Inexact for products: mean(B)·mean(A) ≠ mean(BA) when clients train both factors for more than a step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, flatten, unflatten
from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class FedIT:
    """Clients train B, A and the head; the server steps along the mean of each."""

    name: str = "fedit"
    reads: Reads = Reads.SUM

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


def step_along(
    state: AdapterState, mean: np.ndarray, trained: AdapterSpec, optimizer: ServerOptimizer
) -> tuple[AdapterState, ServerOptimizer]:
    """One server step on the tensors of `trained`; the others stay."""
    values, optimizer = optimizer.step(flatten(state, trained), mean)
    return state.replace(unflatten(values, trained)), optimizer
