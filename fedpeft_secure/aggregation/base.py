"""What an aggregation strategy is."""

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer


class Reads(Enum):
    """What a strategy needs the server to see: everything but a sum is refused under a secure sum."""

    SUM = "sum"
    TWO_SUMS = "two sums"
    INDIVIDUAL = "individual updates"


class Strategy(Protocol):
    """Turns the mean of what clients send into a new adapter."""

    name: str
    reads: Reads

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """The tensors that clients train and send."""
        ...

    def encode(self, delta: Mapping[str, np.ndarray], spec: AdapterSpec) -> np.ndarray:
        """A client's change of the trainable tensors as the vector to be summed, shape (dim,)."""
        ...

    def apply(
        self, state: AdapterState, mean: np.ndarray, spec: AdapterSpec, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """The adapter and the optimiser after a step along `mean`, the weighted mean of the encoded vectors."""
        ...
