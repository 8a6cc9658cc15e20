"""What an aggregation strategy is."""

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.aggregation.factors import Blocks, Factors, ModulePlan
from fedpeft_secure.aggregation.low_rank import Pair
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer


class Reads(Enum):
    """What a strategy needs the server to see: everything but sums is refused under a secure sum."""

    SUM = "sum"
    TWO_SUMS = "two sums"
    INDIVIDUAL = "individual updates"

    @property
    def sums(self) -> int:
        """How many secure sums a round takes."""
        return {Reads.SUM: 1, Reads.TWO_SUMS: 2, Reads.INDIVIDUAL: 0}[self]


class MixedRanks(Enum):
    """What a strategy does with clients of different ranks."""

    REFUSED = "refused"
    SLOTS = "slots"
    """Missing slots are zero: under a secure sum `min_cohort` clients must fill every slot that is sent."""
    DENSE = "dense"
    """Every client fills every value that is sent: nobody's rank shows in it."""


class Weighing(Enum):
    """Whose weights the mean of a strategy uses."""

    GIVEN = "given"
    OWN = "own"
    """The strategy puts its own weights inside the sum; the given ones do not count."""


class Strategy(Protocol):
    """Turns the mean of what clients send into a new adapter."""

    @property
    def name(self) -> str:
        """As in the configuration."""
        ...

    @property
    def reads(self) -> Reads:
        """What the server must see."""
        ...

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


class FactorStrategy(Protocol):
    """A strategy whose answer for a module is a function of the clients' factors, read off one or two sums."""

    @property
    def name(self) -> str:
        """As in the configuration."""
        ...

    @property
    def reads(self) -> Reads:
        """How many sums it takes."""
        ...

    @property
    def mixed_ranks(self) -> MixedRanks:
        """Whether clients may have different ranks."""
        ...

    @property
    def weighing(self) -> Weighing:
        """Whose weights count."""
        ...

    def encode_factors(self, factors: Factors, public: ModulePlan, sums: tuple[Blocks, ...]) -> Blocks:
        """What a client sends for the next sum, given the means of the sums before it."""
        ...

    def apply_sums(self, sums: tuple[Blocks, ...], public: ModulePlan) -> Pair:
        """(B, A) of the new ΔW from the means of all sums."""
        ...
