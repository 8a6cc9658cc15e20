"""FFA-LoRA: A stays at its random start, only B and the head are trained and sent (Sun et al. 2024).

The mean of products is exact, ΔW = (Σ p_k B_k) A; noise enters ΔW once instead of as a product; half the bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Role, flatten
from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.fedit import step_along
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class FFA:
    """Clients train B and the head; the server steps along their mean."""

    name: str = "ffa"
    reads: Reads = Reads.SUM

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """All but the factors A."""
        return spec.only((Role.LORA_B, Role.HEAD))

    def encode(self, delta: Mapping[str, np.ndarray], spec: AdapterSpec) -> np.ndarray:
        """The change of B and the head, flat."""
        return flatten(AdapterState(delta), self.trainable(spec))

    def apply(
        self, state: AdapterState, mean: np.ndarray, spec: AdapterSpec, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """One server step on B and the head."""
        return step_along(state, mean, self.trainable(spec), optimizer)
