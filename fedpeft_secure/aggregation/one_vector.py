"""A sum of one vector of each client that is no change of the adapter: what is asked of clients before a run."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role
from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer

VECTOR = "vector"
"""The name under which a client hands it over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OneVector:
    """Sums a vector of `size` values, and leaves the adapter as it is; a `Strategy`."""

    size: int
    name: str = "characteristics"
    reads: Reads = Reads.SUM

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """The vector alone."""
        del spec
        return AdapterSpec(entries=(Entry(name=VECTOR, shape=(self.size,), role=Role.BODY, module=""),))

    def encode(self, delta: Mapping[str, np.ndarray], spec: AdapterSpec) -> np.ndarray:
        """The vector as it is."""
        del spec
        return delta[VECTOR]

    def apply(
        self, state: AdapterState, mean: np.ndarray, spec: AdapterSpec, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """Nothing was trained."""
        del mean, spec
        return state, optimizer
