"""How one client trains in a round, in this process or in another one of this machine."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.round_strategy import RoundStrategy
from fedpeft_secure.budgets import ClientBudget
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.clients.personal import PersonalValues, correction, left_behind, personal_start
from fedpeft_secure.clients.randomness import Randomness
from fedpeft_secure.clients.training import LocalTask, train_locally


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trained:
    """What a client's training of a round ends with; all of it private.

    Args:
        delta: change of each trained tensor, by name.
        examples: how many were processed.
        seconds: that it took.
    """

    delta: Mapping[str, np.ndarray] = field(repr=False)
    examples: int = field(repr=False)
    seconds: float = field(repr=False)


class Elsewhere(Protocol):
    """Trains simulated clients outside of this process."""

    def begin(self, client: str, request: bytes) -> None:
        """Lets a client start on the server's request, which `train` will soon ask for."""
        ...

    def train(self, client: str, context: RoundContext) -> Trained:
        """What `Trainer.train` of that client gives.

        Raises:
            PolicyError: If the client cannot train as the plan says.
            RunFailedError: If there is nobody left to train it.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trainer:
    """The part of a client that looks at its examples; fields as in `Client`."""

    name: str
    examples: Examples = field(repr=False)
    budget: ClientBudget
    backbone: Backbone = field(repr=False)
    strategy: RoundStrategy
    randomness: Randomness
    physical_batch: int
    own: PersonalValues
    start: AdapterState | None = field(default=None, repr=False)

    def train(self, context: RoundContext) -> Trained:
        """Trains as the plan says, and keeps what stays with the client."""
        plan, start = context.plan, self.strategy.start(context, self.name)
        kept = self.own.before(plan.round)
        task = LocalTask(
            plan=plan.for_client(self.name),
            trained=start.trained,
            masks=start.masks,
            noise_multiplier=0.0 if self.budget.client_noise is not None else self.budget.noise_multiplier,
            bound_gradients="clip_norm" if self.budget.client_noise is None else "nothing",
            sampling=self.randomness.sampling(plan),
            noise=self.randomness.noise(plan),
            physical_batch=self.physical_batch,
            correction=correction(start, kept),
        )
        started = time.perf_counter()
        own = personal_start(start, kept)
        update = train_locally(self.backbone, own, self.examples, task)
        seconds = time.perf_counter() - started
        if left := left_behind(start, own, update):
            self.own.keep((plan.round, plan.attempt), left)
        return Trained(delta=update.delta, examples=update.examples, seconds=seconds)
