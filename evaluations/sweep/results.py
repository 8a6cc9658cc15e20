"""What a sweep found, as its JSON file holds it (schema 1)."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from evaluations.leaks import Leak
from evaluations.spread import Spread
from fedpeft_secure.result import Number


class Record(BaseModel):
    """Base of everything here: no unknown fields, unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Point(Record):
    """One combination of values: its cells over the seeds.

    Args:
        values: of the axes, by key.
        seeds: that were measured.
        runs: the cells' directories, below the sweep's.
        by_seed: the accuracy of each.
        epsilon: the largest that a client spent in one cell; "inf" where nothing bounds it. It covers that cell alone.
        frontier: no other point has at most this ε, at the same δ and for the same unit, and a higher mean accuracy.
        upload_bytes, download_bytes: per client and round.
        seconds: of a whole cell.
        warnings: what the numbers do not carry.
    """

    values: dict[str, Any]
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    by_seed: tuple[float, ...]
    accuracy: Spread
    precision: Spread
    recall: Spread
    f1: Spread
    loss: Spread
    majority_baseline: float
    epsilon: Number
    delta: float
    noise: Literal["secure", "simulation", "none"]
    upload_bytes: float
    download_bytes: float
    seconds: float
    peak_memory_bytes: int
    leaks: tuple[Leak, ...] = ()
    frontier: bool = False
    warnings: tuple[str, ...] = ()


class Step(Record):
    """From one point of the frontier to the next: paired over the seeds that both have."""

    start: dict[str, Any]
    end: dict[str, Any]
    difference: Spread | None = Field(description="of accuracy; null where no seed is common")
    conclusive: bool = Field(description="whether its interval lies on one side of zero")


class Missing(Record):
    """A cell without a result; `seed` is null where the values cannot go together at any seed."""

    values: dict[str, Any]
    seed: int | None
    kind: Literal["refused", "failed"]
    reason: str


class Label(Record):
    """What the ε of the sweep's cells say, and what they do not.

    Args:
        kind: "simulation", "one ledger" or "not private".
        together_epsilon, together_delta: by basic composition, what somebody would have spent who trained all cells on
            private data; null where one ledger counts it better.
    """

    kind: Literal["simulation", "one ledger", "not private"]
    statement: str
    together_epsilon: Number | None
    together_delta: float | None


class Sweep(Record):
    """Everything."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    model: str
    data: str
    axes: dict[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    steps: tuple[Step, ...]
    missing: tuple[Missing, ...]
    privacy: Label
    cell_seconds: float = Field(description="of all cells together, however many ran at once")
    versions: dict[str, str]
    processor: str

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def to_json(self) -> str:
        """The text of `sweep.json`."""
        return self.model_dump_json(by_alias=True, indent=2)

    @property
    def failed(self) -> tuple[Missing, ...]:
        """Cells that were begun and did not end well."""
        return tuple(one for one in self.missing if one.kind == "failed")
