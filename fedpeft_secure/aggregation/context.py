"""What everybody knows of a round: the plan, the adapter before it, and what follows from them."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Role
from fedpeft_secure.aggregation.factors import Factors, ModulePlan
from fedpeft_secure.allocation.allotment import Allotment, rank_of
from fedpeft_secure.plans import RoundPlan

FACTORS = (Role.LORA_A, Role.LORA_B)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RoundContext:
    """The public facts of a round, the same for the server and every client.

    Args:
        plan: of the round.
        spec: the structure of the adapter.
        state: its values before the round.
    """

    plan: RoundPlan
    spec: AdapterSpec
    state: AdapterState = field(repr=False)

    @property
    def seed(self) -> int:
        """Of public random matrices and choices: fresh in every attempt, and known to everybody."""
        text = f"fedpeft-secure/round/v1\0{self.plan.run}\0{self.plan.round}\0{self.plan.attempt}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")

    @property
    def allotments(self) -> Mapping[str, Allotment]:
        """The part of the module that each client of the cohort trains."""
        return _allotments(self)

    def rank(self, module: str) -> int:
        """The slots of the shared factors of `module`."""
        name = self.spec.name_of(module, Role.LORA_A)
        return rank_of(next(entry for entry in self.spec.entries if entry.name == name))

    def tuners(self, module: str) -> tuple[str, ...]:
        """The clients of the cohort that train `module`."""
        return tuple(client for client, modules in _tuned(self).items() if module in modules)

    def factors(self, module: str, values: Mapping[str, np.ndarray] | None = None) -> Factors:
        """B and A of `module` among `values`; the shared ones unless given."""
        held = self.state.values if values is None else values
        b, a = (held[self.spec.name_of(module, role)] for role in (Role.LORA_B, Role.LORA_A))
        return Factors(b=b, a=a)

    def module_plan(self, module: str) -> ModulePlan:
        """What the strategies know of a module: the ranks of all who train it, and that of the shared factors."""
        shared, rank = self.factors(module), self.rank(module)
        allotments = self.allotments
        ranks = tuple(allotments[client].slots(rank) for client in self.tuners(module))
        return ModulePlan(d=shared.b.shape[0], n=shared.a.shape[1], ranks=(*ranks, rank), rank=rank, seed=self.seed)

    @property
    def spread(self) -> float:
        """About the standard deviation of one coordinate of a client's change.

        Noise is six times smaller than the range that the codec was planned for. Without it the norm of an SGD step is
        bounded, and its coordinates are taken for alike; AdamW moves each by about its learning rate.
        """
        plan = self.plan
        if plan.private:
            return plan.codec_clip / 6
        steps = plan.local_steps * plan.learning_rate
        if plan.optimizer == "adamw":
            return steps
        clip_norm = max(plan.clip_norm, *(plan.for_client(client).clip_norm for client in plan.cohort))
        return steps * clip_norm / math.sqrt(self.spec.size)


@lru_cache(maxsize=4)
def _allotments(context: RoundContext) -> dict[str, Allotment]:
    return {client: context.plan.allotment(client) for client in context.plan.cohort}


@lru_cache(maxsize=4)
def _tuned(context: RoundContext) -> dict[str, frozenset[str]]:
    """The modules that each client trains."""
    return {client: frozenset(part.part_of(context.spec).modules) for client, part in _allotments(context).items()}
