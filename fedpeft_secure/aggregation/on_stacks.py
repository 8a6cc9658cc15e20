"""FLoRA in the main job: the server reads everybody's factors, and their exact mean product moves into W.

Every round begins with new factors, A at random from the public seed and B zero, as in the paper (Wang et al. 2024).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Role
from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.base_weights import base_name, with_base
from fedpeft_secure.aggregation.context import FACTORS, RoundContext
from fedpeft_secure.aggregation.factors import Factors
from fedpeft_secure.aggregation.fedit import step_along
from fedpeft_secure.aggregation.flora import FLoRA
from fedpeft_secure.aggregation.on_factors import product_rate
from fedpeft_secure.aggregation.round_strategy import Received
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer
from fedpeft_secure.aggregation.sums_tensors import SumsTensors
from fedpeft_secure.seeds import Seed


@dataclass(frozen=True, kw_only=True, slots=True)
class OnStacks(SumsTensors):
    """Clients send the change of their factors in clear; the server stacks them and merges the product."""

    name: str = "flora"
    reads: Reads = Reads.INDIVIDUAL
    scales: bool = False

    def adapter(self, spec: AdapterSpec) -> AdapterSpec:
        """With changes of the base weights."""
        return with_base(spec)

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """All but the base weights."""
        return spec.only((*FACTORS, Role.HEAD, Role.BODY))

    def apply(
        self, received: Received, context: RoundContext, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """The stacked product moves into W, a share of the way; factors begin anew."""
        share, layout = product_rate(optimizer), self.layout(context, ())
        total = sum(weight for _, weight in received.individual.values())
        shares = [weight / total for _, weight in received.individual.values()]
        changes = [layout.unpack(vector) for vector, _ in received.individual.values()]
        values: dict[str, np.ndarray] = {}
        for module in context.spec.modules:
            after = [
                self._after(context, module, client, change)
                for client, change in zip(received.individual, changes, strict=True)
            ]
            b, a = FLoRA().stack(after, shares)
            shared = context.factors(module)
            base = base_name(module)
            values[base] = context.state[base] + (1 - share) * shared.product() + share * (b @ a)
            values |= self._fresh(context, module)
        others = context.spec.only((Role.HEAD, Role.BODY))
        means = {
            name: sum(part * change[name][0] for part, change in zip(shares, changes, strict=True))
            for name in others.names
        }
        flat = np.concatenate([np.zeros(0), *(np.asarray(means[name]).reshape(-1) for name in others.names)])
        state, optimizer = step_along(context.state, flat, others, optimizer)
        return state.replace(values), optimizer

    def _after(
        self, context: RoundContext, module: str, client: str, change: Mapping[str, tuple[np.ndarray, ...]]
    ) -> Factors:
        """A client's factors: its public start and what it sent."""
        start = self.start(context, client).state
        b, a = (
            start[name] + change[name][0]
            for name in (context.spec.name_of(module, role) for role in (Role.LORA_B, Role.LORA_A))
        )
        return Factors(b=b, a=a)

    def _fresh(self, context: RoundContext, module: str) -> dict[str, np.ndarray]:
        shared = context.factors(module)
        rng = Seed(context.seed).child("aggregation", "fresh factors", module)
        bound = 1 / math.sqrt(shared.a.shape[1])
        names = (context.spec.name_of(module, Role.LORA_B), context.spec.name_of(module, Role.LORA_A))
        return dict(zip(names, (np.zeros_like(shared.b), rng.uniform(-bound, bound, shared.a.shape)), strict=True))
