"""Strategies that sum changes of tensors as they are, in the main job: FedIT, FFA, FedSVD, RoLoRA and custom ones."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Role
from fedpeft_secure.aggregation.base import Reads, Strategy
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.layout import Layout
from fedpeft_secure.aggregation.round_strategy import Received
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer
from fedpeft_secure.aggregation.sums_tensors import SumsTensors


@dataclass(frozen=True, kw_only=True, slots=True)
class OnTensors(SumsTensors):
    """Clients send the change of what they train; whatever a client does not train counts as unchanged."""

    strategy: Strategy
    scales: bool = False

    @property
    def name(self) -> str:
        """As in the configuration."""
        return self.strategy.name

    @property
    def reads(self) -> Reads:
        """See `Strategy`."""
        return self.strategy.reads

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """See `Strategy`."""
        return self.strategy.trainable(spec)

    def encode(self, delta: Mapping[str, np.ndarray], context: RoundContext, client: str, layout: Layout) -> np.ndarray:
        """The change, zero where nothing was trained."""
        del client, layout
        unchanged = {
            entry.name: np.zeros(entry.shape, dtype=np.float32) for entry in self.trainable(context.spec).entries
        }
        return self.strategy.encode({**unchanged, **delta}, context.spec)

    def apply(
        self, received: Received, context: RoundContext, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """The server's step along the mean."""
        return self.strategy.apply(context.state, received.means[0], context.spec, optimizer)


@dataclass(frozen=True, kw_only=True, slots=True)
class RoLoRAJob(SumsTensors):
    """Odd rounds train B, even rounds A, and the head in all: the mean of products is exact (Chen et al. 2024)."""

    name: str = "rolora"
    reads: Reads = Reads.SUM
    scales: bool = False

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """Everything, in turn."""
        return spec

    def sent(self, context: RoundContext) -> AdapterSpec:
        """What this round trains."""
        turn = Role.LORA_B if context.plan.round % 2 else Role.LORA_A
        return context.spec.only((turn, Role.HEAD, Role.BODY))

    def apply(
        self, received: Received, context: RoundContext, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """The server's step; the frozen factor stays, while the optimiser's memory of it fades."""
        changes = {name: blocks[0] for name, blocks in self.layout(context, ()).unpack(received.means[0]).items()}
        spec, state = context.spec, context.state
        flat = np.concatenate([changes.get(entry.name, np.zeros(entry.shape)).reshape(-1) for entry in spec.entries])
        values, optimizer = optimizer.step(np.concatenate([state[name].reshape(-1) for name in spec.names]), flat)
        parts = np.split(values, np.cumsum([entry.size for entry in spec.entries])[:-1])
        stepped = {entry.name: part.reshape(entry.shape) for entry, part in zip(spec.entries, parts, strict=True)}
        return state.replace({name: stepped[name] for name in changes}), optimizer
