"""The typed configuration: every table of the TOML file, with every default; the tables are in `settings`."""

import math
from typing import Annotated, Any

from pydantic import Field

from fedpeft_secure.settings import (
    FORMS,
    AggregationConfig,
    AllocationConfig,
    AttacksConfig,
    BudgetDistribution,
    ClientsConfig,
    ClientTerms,
    ClippingConfig,
    DataConfig,
    DeviceTerms,
    Fraction,
    GroupTerms,
    MeasuredImportance,
    ModelConfig,
    PartitionConfig,
    PeftTable,
    PrivacyConfig,
    Rate,
    SecureSumConfig,
    SyntheticConfig,
    Table,
    TrainingConfig,
)

__all__ = [
    "FORMS",
    "AggregationConfig",
    "AllocationConfig",
    "AttacksConfig",
    "BudgetDistribution",
    "ClientTerms",
    "ClientsConfig",
    "ClippingConfig",
    "Config",
    "DataConfig",
    "DeviceTerms",
    "Fraction",
    "GroupTerms",
    "MeasuredImportance",
    "ModelConfig",
    "PartitionConfig",
    "PeftTable",
    "PrivacyConfig",
    "Rate",
    "SecureSumConfig",
    "SyntheticConfig",
    "TrainingConfig",
]


class Config(Table):
    """The whole configuration; `Config()` is the embedded default."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides everything random of a simulation: who holds what, samples, noise, keys."""

    model: ModelConfig = ModelConfig()
    """The pre-trained model."""

    data: DataConfig = DataConfig()
    """The labelled texts."""

    clients: ClientsConfig = ClientsConfig()
    """The cohort."""

    peft: PeftTable = PeftTable()
    """The small module that is trained."""

    training: TrainingConfig = TrainingConfig()
    """Local steps and the server's."""

    privacy: PrivacyConfig = PrivacyConfig()
    """Budgets, and how they are counted."""

    aggregation: AggregationConfig = AggregationConfig()
    """What the server does with a sum of updates."""

    secure_sum: SecureSumConfig = SecureSumConfig()
    """The protocol that hides the updates."""

    allocation: AllocationConfig = AllocationConfig()
    """Who trains how much."""

    attacks: AttacksConfig = AttacksConfig()
    """What the red team tries."""

    @property
    def client_names(self) -> tuple[str, ...]:
        """The names by which budgets, messages and the ledger know the clients: client-1, client-2, …"""
        return tuple(f"client-{index}" for index in range(1, self.clients.count + 1))

    def terms_of(self, client: str) -> ClientTerms:
        """What `client` has for itself.

        Raises:
            TypeError: If budgets are still to be read or drawn; call `per_client.resolve` first.
        """
        terms = self.privacy.per_client
        if not isinstance(terms, dict):
            raise TypeError("privacy.per_client names a file or a distribution: call fedpeft_secure.per_client.resolve")
        return terms.get(client, ClientTerms())

    def groups_of(self, client: str) -> dict[str, GroupTerms]:
        """The groups of examples of `client`, by name; empty where all its examples share one budget."""
        own = self.terms_of(client).groups
        return self.privacy.groups if own is None else own

    def epsilon_of(self, client: str) -> float:
        """The configured budget of `client`: that of its worst group, its own, else `privacy.epsilon`.

        A client with nothing but a noise multiplier gets its ε from it: see `budgets.epsilon_limit`.
        """
        if groups := self.groups_of(client):
            return max(group.epsilon for group in groups.values())
        own = self.terms_of(client).epsilon
        return self.privacy.epsilon if own is None else own

    def is_private(self, client: str) -> bool:
        """Whether `client` adds noise."""
        return math.isfinite(self.epsilon_of(client)) or self.terms_of(client).noise_multiplier is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as TOML writes them."""
        return self.model_dump(mode="json")
