"""What `audit.json` holds (schema 1)."""

from typing import Literal

from pydantic import ConfigDict, Field

from fedpeft_secure.result import Number, Record


class AuditBound(Record):
    """One method's lower bound on ε."""

    method: str
    epsilon: Number
    alpha: float | None = Field(description="its share of the joint α; null for an estimate, which bounds nothing")
    may_fail: bool


class Separated(Record):
    """How well the scores tell canaries that were in from those that were not, and the same where nothing is."""

    auc: float
    low: float
    high: float
    null: float = Field(description="two halves of the canaries that were not in")


class StepCount(Record):
    """The replay of the ledger of the audit itself."""

    taken: float
    charged: int


class AuditResult(Record):
    """The empirical lower bound beside the ledger's upper bound of the same privacy unit."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    unit: Literal["example", "client"]
    relation: str
    accountant: str
    delta: float
    noise: str = Field(description='"secure" or "simulation"')
    audited: str = Field(description="whose messages, and what was planted in them")
    noise_multiplier: float
    sample_rate: float
    steps: StepCount
    canaries: int
    included: int
    epsilon_budget: Number
    epsilon_upper: Number = Field(description="what the ledger says of the audited releases")
    epsilon_lower: Number = Field(description="the largest bound that may fail a run")
    epsilon_estimate: Number = Field(description="GDP, descriptive: no bound")
    alpha: float = Field(description="the joint chance of failing an honest mechanism")
    bounds: tuple[AuditBound, ...]
    separation: Separated
    problems: tuple[str, ...] = Field(description="empty if the audit passed")
    seconds: float
    seed: int

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    def passed(self) -> bool:
        """Whether nothing contradicts the ledger."""
        return not self.problems

    def to_json(self) -> str:
        """The text of `audit.json`."""
        return self.model_dump_json(by_alias=True, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "AuditResult":
        """Reads what `to_json` wrote."""
        return cls.model_validate_json(text)
