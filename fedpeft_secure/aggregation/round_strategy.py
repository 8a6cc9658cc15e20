"""What the main job asks of a strategy, round by round."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.aggregation.base import Reads, Weighing
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.layout import Layout
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer
from fedpeft_secure.allocation.allotment import first_slots, masked

Earlier = tuple[np.ndarray, ...]
"""The means of the sums of a round before the next one; public."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Start:
    """Where a client begins a round.

    Args:
        state: the adapter that it trains.
        trained: the tensors that it changes.
        masks: by name, 1 where a factor may change.
        personal: names of tensors that the client keeps for itself from round to round.
        control: by name, the shared control variates c.
    """

    state: AdapterState = field(repr=False)
    trained: AdapterSpec
    masks: Mapping[str, np.ndarray] = field(repr=False)
    personal: frozenset[str] = frozenset()
    control: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Received:
    """What the server has after the sums of a round.

    Args:
        means: of every sum, each of shape (dim,).
        survivors: whose vectors are in them.
        individual: (vector, weight) of each survivor, for strategies that read `INDIVIDUAL` updates; else empty.
    """

    means: tuple[np.ndarray, ...] = field(repr=False)
    survivors: tuple[str, ...]
    individual: Mapping[str, tuple[np.ndarray, float]] = field(default_factory=dict, repr=False)


class RoundStrategy(Protocol):
    """A strategy in the main job: what clients start from, what they send, what the server makes of it."""

    @property
    def name(self) -> str:
        """As in the configuration."""
        ...

    @property
    def reads(self) -> Reads:
        """What the server must see."""
        ...

    @property
    def scales(self) -> bool:
        """Whether blocks are sent in public units of their own; else changes of tensors are sent as they are."""
        ...

    @property
    def weighing(self) -> Weighing:
        """Whose weights count."""
        ...

    def adapter(self, spec: AdapterSpec) -> AdapterSpec:
        """The structure that is sent out: that of the method, perhaps with changes of the base weights."""
        ...

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """The tensors that clients ever train."""
        ...

    def start(self, context: RoundContext, client: str) -> Start:
        """Where `client` begins."""
        ...

    def layout(self, context: RoundContext, earlier: Earlier) -> Layout:
        """The vector of the next sum."""
        ...

    def encode(self, delta: Mapping[str, np.ndarray], context: RoundContext, client: str, layout: Layout) -> np.ndarray:
        """A client's change since its start as the vector to be summed, shape (layout.size,)."""
        ...

    def apply(
        self, received: Received, context: RoundContext, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """The adapter and the optimiser after the round."""
        ...


def own_start(context: RoundContext, client: str, trained: AdapterSpec) -> Start:
    """The shared adapter with the slots that the client has, and what it tunes of `trained`."""
    allotment = context.plan.allotment(client)
    masks = first_slots(context.spec, allotment)
    return Start(state=masked(context.state, masks), trained=allotment.part_of(trained), masks=masks)
