"""Fed-SB: between fixed B and A clients train an r × r core only, and the mean of cores is exact.

ΔW = B (Σ p_k R_k) A at r² values a module. The paper takes B and A from an SVD of the first gradient. That gradient
would be a release of the clients' data of its own, so here they are the top singular vectors of the frozen weight
(`methods.lora_xs`): public, as the base model is, and therefore no part of what is sent.

Source: Singhal et al. 2025, *Fed-SB: A Silver Bullet for Extreme Communication Efficiency and Performance in (Private)
Federated LoRA Fine-Tuning*, the section on the method.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, flatten
from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.fedit import step_along
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError

CORES = "lora_xs"
"""The method whose adapter is cores between fixed factors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FedSB:
    """Clients train the cores and the head; the server steps along their mean, which is that of the products."""

    name: str = "fed_sb"
    reads: Reads = Reads.SUM

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """Everything: the fixed factors are no part of the adapter."""
        return spec

    def encode(self, delta: Mapping[str, np.ndarray], spec: AdapterSpec) -> np.ndarray:
        """The change of cores and head, flat."""
        return flatten(AdapterState(delta), self.trainable(spec))

    def apply(
        self, state: AdapterState, mean: np.ndarray, spec: AdapterSpec, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """One server step on cores and head."""
        return step_along(state, mean, self.trainable(spec), optimizer)


def check_cores(config: Config) -> None:
    """Refuses Fed-SB where there are no cores.

    Raises:
        ConfigError: Names the method that has them.
    """
    if config.peft.method != CORES:
        raise ConfigError(
            'aggregation.strategy: "fed_sb" sums cores between fixed factors, which '
            f'peft.method = {config.peft.method!r} has not; set peft.method = "{CORES}"'
        )
