"""Server optimisers: the mean change of the clients is taken for a negative gradient (Reddi et al. 2021).

They see released sums only, so what they do is post-processing: no privacy cost.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, Role
from fedpeft_secure.config import TrainingConfig

HEAD_FACTOR_UNDER_DP, HEAD_FACTOR_WITHOUT = 6.0, 4.0
"""How many times as fast the head learns: it starts at zero, and stands out of the noise long before the factors."""

Turn = Callable[[np.ndarray, int], np.ndarray]
"""(memory, power) → memory in new coordinates; power 1 for gradients, 2 for their squares."""


class ServerOptimizer(Protocol):
    """A pure optimiser over one flat vector."""

    def step(self, values: np.ndarray, mean_change: np.ndarray) -> tuple[np.ndarray, Self]:
        """New values and the optimiser's next state; all arrays have shape (dim,)."""
        ...

    def turned(self, turn: Turn) -> Self:
        """The optimiser after the strategy changed the coordinates of its values."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """The state, for a checkpoint."""
        ...

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """The optimiser in the state that `arrays` describes."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Remembering:
    """What all optimisers here share: a learning rate that may fall, and a memory of gradients.

    Args:
        learning_rate: of the first step.
        decay_steps: after as many the rate is zero; None for a constant one.
        steps: taken so far.
        mean, square: running means of gradients and of their squares, shape (dim,); None before the first step, or
            where none is kept.
    """

    learning_rate: float
    decay_steps: int | None = None
    steps: int = 0
    mean: np.ndarray | None = None
    square: np.ndarray | None = None

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return decayed_rate(self.learning_rate, self.steps, self.decay_steps)

    def turned(self, turn: Turn) -> Self:
        """The memory in new coordinates; squares, kept for each value, as if values were uncorrelated."""
        if self.mean is None:
            return self
        square = None if self.square is None else turn(self.square, 2)
        return replace(self, mean=turn(self.mean, 1), square=square)

    def arrays(self) -> dict[str, np.ndarray]:
        """Step count and memory; nothing before the first step."""
        if not self.steps:
            return {}
        memory = {"mean": self.mean, "square": self.square}
        kept = {name: value for name, value in memory.items() if value is not None}
        return {"steps": np.array([self.steps], dtype=np.int64), **kept}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """The optimiser after `arrays["steps"]` steps; fresh when there are none."""
        if not arrays:
            return self
        return replace(self, steps=int(arrays["steps"][0]), mean=arrays.get("mean"), square=arrays.get("square"))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FedAvg(Remembering):
    """values + learning_rate · m with m ← momentum · m + mean change.

    At learning rate 1 without momentum, plain federated averaging; with it FedAvgM (Hsu, Qi and Brown 2019,
    *Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification*).
    """

    momentum: float = 0.0

    def step(self, values: np.ndarray, mean_change: np.ndarray) -> tuple[np.ndarray, "FedAvg"]:
        """One step; see `ServerOptimizer`."""
        if not self.momentum:
            return values + self.rate * mean_change, replace(self, steps=self.steps + 1)
        mean = mean_change if self.mean is None else self.momentum * self.mean + mean_change
        return values + self.rate * mean, replace(self, steps=self.steps + 1, mean=mean)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FedAdamW(Remembering):
    """AdamW (Loshchilov & Hutter 2019) on the negative mean change; `factors` (dim,) scale the rate of each value."""

    factors: np.ndarray | None = None
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    def step(self, values: np.ndarray, mean_change: np.ndarray) -> tuple[np.ndarray, "FedAdamW"]:
        """One step; see `ServerOptimizer`."""
        gradient = -mean_change.astype(np.float64)
        zeros = np.zeros_like(gradient)
        mean = self.beta1 * (zeros if self.mean is None else self.mean) + (1 - self.beta1) * gradient
        square = self.beta2 * (zeros if self.square is None else self.square) + (1 - self.beta2) * gradient**2
        steps = self.steps + 1
        direction = (mean / (1 - self.beta1**steps)) / (np.sqrt(square / (1 - self.beta2**steps)) + self.epsilon)
        rate = self.rate * (1.0 if self.factors is None else self.factors)
        decayed = values * (1 - rate * self.weight_decay)
        return decayed - rate * direction, replace(self, steps=steps, mean=mean, square=square)


SecondMoment = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""(v, squared change, β₂) → the next v."""

SECOND_MOMENTS: Mapping[str, SecondMoment] = {
    "adagrad": lambda v, squared, _: v + squared,
    "yogi": lambda v, squared, beta2: v - (1 - beta2) * squared * np.sign(v - squared),
    "adam": lambda v, squared, beta2: beta2 * v + (1 - beta2) * squared,
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FedOpt(Remembering):
    """FedAdagrad, FedYogi and FedAdam: values + rate · m/(√v + τ), m the running mean of changes, v their size.

    Args:
        rule: of `SECOND_MOMENTS`.
        factors: shape (dim,), scale the rate of each value.
        tau: the degree of adaptivity τ; v starts at τ².

    Source: Reddi et al. 2021, *Adaptive Federated Optimization*, Algorithm 2, without bias correction as there.
    """

    rule: str
    factors: np.ndarray | None = None
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def step(self, values: np.ndarray, mean_change: np.ndarray) -> tuple[np.ndarray, "FedOpt"]:
        """One step; see `ServerOptimizer`."""
        change = mean_change.astype(np.float64)
        mean = (1 - self.beta1) * change + (0.0 if self.mean is None else self.beta1 * self.mean)
        before = np.full_like(change, self.tau**2) if self.square is None else self.square
        square = SECOND_MOMENTS[self.rule](before, change**2, self.beta2)
        rate = self.rate * (1.0 if self.factors is None else self.factors)
        moved = values + rate * mean / (np.sqrt(square) + self.tau)
        return moved, replace(self, steps=self.steps + 1, mean=mean, square=square)


def decayed_rate(learning_rate: float, steps: int, decay_steps: int | None) -> float:
    """The learning rate of the step after `steps` steps: constant, or falling linearly to zero over `decay_steps`.

    Under DP every step carries the same noise, so that smaller last steps average it away.
    """
    if decay_steps is None:
        return learning_rate
    return learning_rate * max(0.0, 1 - steps / decay_steps)


def server_optimizer(training: TrainingConfig, trained: AdapterSpec, *, private: bool) -> ServerOptimizer:
    """The optimiser that `[training]` names, before its first step.

    Args:
        training: the `[training]` table.
        trained: the tensors that it will step along; adaptive ones move the head's `server_head_factor` times as fast.
        private: whether updates carry noise: decides what "auto" means for the schedule, which falls to zero with
            noise and is constant without, and for the head's factor.
    """
    falls = training.server_schedule == "linear" or (training.server_schedule == "auto" and private)
    decay_steps = training.rounds if falls else None
    rate = training.server_learning_rate
    if training.server_optimizer in ("sgd", "momentum"):
        momentum = training.server_momentum if training.server_optimizer == "momentum" else 0.0
        return FedAvg(learning_rate=rate, decay_steps=decay_steps, momentum=momentum)
    head = training.server_head_factor
    if head == "auto":
        head = HEAD_FACTOR_UNDER_DP if private else HEAD_FACTOR_WITHOUT
    factors = np.concatenate(
        [np.full(entry.size, head if entry.role is Role.HEAD else 1.0) for entry in trained.entries]
    )
    if training.server_optimizer == "adamw":
        return FedAdamW(learning_rate=rate, factors=factors, decay_steps=decay_steps)
    return FedOpt(learning_rate=rate, rule=training.server_optimizer, factors=factors, decay_steps=decay_steps)
