"""Strategies that leave every client something of its own: its factors B (FedSA-LoRA), or its head (FedPer).

Clients train everything, send what is shared, and keep the rest for their next round. There is no one model in the end
but one for each client: the shared tensors with its own ones.

Under DP what is kept has seen the data through noised gradients only, since it enters later releases: all tensors are
trained together by DP-SGD, and a kept one costs no more and reveals no more than a sent one would.

Source: Guo et al. 2025, *Selective Aggregation for Low-Rank Adaptation in Federated Learning*, the section on
FedSA-LoRA; Arivazhagan et al. 2019, *Federated Learning with Personalization Layers*, Algorithms 1 and 2.
"""

from dataclasses import dataclass, replace

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Role
from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.fedit import step_along
from fedpeft_secure.aggregation.round_strategy import Received, Start, own_start
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer
from fedpeft_secure.aggregation.sums_tensors import SumsTensors
from fedpeft_secure.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class OnPersonal(SumsTensors):
    """The mean of all tensors but those of one role, which every client keeps.

    Args:
        name: as in the configuration.
        kept: the role of what stays.
    """

    name: str
    kept: Role
    reads: Reads = Reads.SUM
    scales: bool = False

    def adapter(self, spec: AdapterSpec) -> AdapterSpec:
        """That of the method.

        Raises:
            ConfigError: If there is nothing to keep, or nothing to share.
        """
        if not spec.only((self.kept,)).entries or not self.trainable(spec).entries:
            tensors = {Role.HEAD: "head", Role.LORA_B: "factors B"}[self.kept]
            lacks = f"and here is nothing but the {tensors}" if spec.only((self.kept,)).entries else "and there is none"
            raise ConfigError(
                f"aggregation.strategy: {self.name!r} leaves every client its own {tensors}, {lacks}; use "
                '"auto", or another peft.method'
            )
        return spec

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """What is shared."""
        return AdapterSpec(entries=tuple(entry for entry in spec.entries if entry.role is not self.kept))

    def start(self, context: RoundContext, client: str) -> Start:
        """The shared adapter; the client puts its own tensors into it."""
        personal = frozenset(context.spec.only((self.kept,)).names)
        return replace(own_start(context, client, context.spec), personal=personal)

    def apply(
        self, received: Received, context: RoundContext, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """The server's step on what is shared."""
        return step_along(context.state, received.means[0], self.trainable(context.spec), optimizer)
