"""Server optimisers: the mean change of the clients is taken for a negative gradient (Reddi et al. 2021).

They see released sums only, so what they do is post-processing: no privacy cost.
"""

from collections.abc import Callable
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
class FedAvg:
    """values + learning_rate · mean change; at learning rate 1 plain federated averaging."""

    learning_rate: float
    decay_steps: int | None = None
    steps: int = 0

    def step(self, values: np.ndarray, mean_change: np.ndarray) -> tuple[np.ndarray, "FedAvg"]:
        """One step; see `ServerOptimizer`."""
        rate = decayed_rate(self.learning_rate, self.steps, self.decay_steps)
        return values + rate * mean_change, replace(self, steps=self.steps + 1)

    def turned(self, turn: Turn) -> "FedAvg":
        """Itself: there is nothing to turn."""
        del turn
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """The step count."""
        return {"steps": np.array([self.steps], dtype=np.int64)}

    def restore(self, arrays: dict[str, np.ndarray]) -> "FedAvg":
        """The optimiser after `arrays["steps"]` steps."""
        return replace(self, steps=int(arrays["steps"][0]))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FedAdamW:
    """AdamW (Loshchilov & Hutter 2019) on the negative mean change; `factors` (dim,) scale the rate of each value."""

    learning_rate: float
    factors: np.ndarray | None = None
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    decay_steps: int | None = None
    steps: int = 0
    mean: np.ndarray | None = None
    square: np.ndarray | None = None

    def step(self, values: np.ndarray, mean_change: np.ndarray) -> tuple[np.ndarray, "FedAdamW"]:
        """One step; see `ServerOptimizer`."""
        gradient = -mean_change.astype(np.float64)
        zeros = np.zeros_like(gradient)
        mean = self.beta1 * (zeros if self.mean is None else self.mean) + (1 - self.beta1) * gradient
        square = self.beta2 * (zeros if self.square is None else self.square) + (1 - self.beta2) * gradient**2
        steps = self.steps + 1
        direction = (mean / (1 - self.beta1**steps)) / (np.sqrt(square / (1 - self.beta2**steps)) + self.epsilon)
        rate = decayed_rate(self.learning_rate, self.steps, self.decay_steps) * (
            1.0 if self.factors is None else self.factors
        )
        decayed = values * (1 - rate * self.weight_decay)
        return decayed - rate * direction, replace(self, steps=steps, mean=mean, square=square)

    def turned(self, turn: Turn) -> "FedAdamW":
        """Both moments in new coordinates; the second, kept per value, as if values were uncorrelated."""
        if self.mean is None or self.square is None:
            return self
        return replace(self, mean=turn(self.mean, 1), square=turn(self.square, 2))

    def arrays(self) -> dict[str, np.ndarray]:
        """Step count and both moments."""
        if self.mean is None or self.square is None:
            return {}
        return {"steps": np.array([self.steps], dtype=np.int64), "mean": self.mean, "square": self.square}

    def restore(self, arrays: dict[str, np.ndarray]) -> "FedAdamW":
        """The optimiser after `arrays["steps"]` steps; fresh when there are none."""
        if not arrays:
            return self
        return replace(self, steps=int(arrays["steps"][0]), mean=arrays["mean"], square=arrays["square"])


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
        trained: the tensors that it will step along; AdamW moves the head's `server_head_factor` times as fast.
        private: whether updates carry noise: decides what "auto" means for the schedule, which falls to zero with
            noise and is constant without, and for the head's factor.
    """
    falls = training.server_schedule == "linear" or (training.server_schedule == "auto" and private)
    decay_steps = training.rounds if falls else None
    if training.server_optimizer == "sgd":
        return FedAvg(learning_rate=training.server_learning_rate, decay_steps=decay_steps)
    head = training.server_head_factor
    if head == "auto":
        head = HEAD_FACTOR_UNDER_DP if private else HEAD_FACTOR_WITHOUT
    factors = np.concatenate(
        [np.full(entry.size, head if entry.role is Role.HEAD else 1.0) for entry in trained.entries]
    )
    return FedAdamW(learning_rate=training.server_learning_rate, factors=factors, decay_steps=decay_steps)
