"""What a run reports: the models behind `result.json` (schema 1) and the lines of `rounds.jsonl`."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, model_validator

Number = Annotated[
    float,
    PlainSerializer(lambda value: "inf" if math.isinf(value) else value, return_type=float | str, when_used="json"),
]
"""A number that may be infinite: written as the text "inf"."""

ViewName = Literal["individual", "individual-dp", "sum", "sum-dp"]


class Record(BaseModel):
    """Base of everything in the result: no unknown fields, unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=True)


class Utility(Record):
    """How good the model is on the test split; precision, recall and F1 are macro averages."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    loss: float
    majority_baseline: float
    examples: int
    classes: tuple[str, ...]


class ClientUtility(Record):
    """One client's accuracy on its own held-out examples; how many there are stays its own affair."""

    client: str
    accuracy: float = Field(description="with what it has kept for itself")
    shared_accuracy: float = Field(description="of the shared model")


class PersonalUtility(Record):
    """Means over the clients, each counting the same; a simulation's knowledge of private data, without noise."""

    accuracy: float
    shared_accuracy: float
    clients: tuple[ClientUtility, ...]


class GroupPrivacy(Record):
    """The same for the examples of one group within a client."""

    group: str
    epsilon_budget: Number
    epsilon_spent: Number
    share: float
    sample_rate: float


class ClientPrivacy(Record):
    """What one client's messages reveal to everybody else together, over the whole ledger.

    With groups, `epsilon_spent` bounds all of them; `sample_rate` is that of the whole.
    """

    client: str
    epsilon_budget: Number
    epsilon_spent: Number = Field(description="of everything on the ledger, earlier runs included")
    delta: float
    noise_multiplier: float = Field(description="of this run")
    sample_rate: float = Field(description="of this run")
    steps: int = Field(description="charged by this run")
    ledger_steps: int = Field(default=0, description="charged by all runs on the ledger")
    clip_norm: float | None = None
    groups: tuple[GroupPrivacy, ...] = ()


class Departure(Record):
    """A client that left the cohort for good, from public facts alone."""

    client: str
    after_round: int
    reason: str


class AggregatePrivacy(Record):
    """What the sums alone reveal about one unit of any client, under the stated assumptions."""

    epsilon: Number
    delta: float
    noise_multiplier: float
    honest_survivors: int
    assumptions: str


class LedgerHead(Record):
    """The end of the ledger's hash chain: with it a ledger that was cut off or rewritten is noticed."""

    charges: int
    digest: str


class Privacy(Record):
    """Every ε with its δ, unit, relation and accountant."""

    private: bool
    unit: Literal["example", "client"]
    relation: str
    accountant: str
    noise: Literal["secure", "simulation", "none"]
    mechanism: str = Field(default="per_example", description='who adds the noise; "central" trusts the server with it')
    clients: tuple[ClientPrivacy, ...]
    clients_assumptions: str = Field(default="", description="under which the rows of `clients` hold")
    aggregate: AggregatePrivacy | None
    departures: tuple[Departure, ...] = ()
    ledger: LedgerHead


class Communication(Record):
    """Bytes on the wire per client and round (mean over rounds and survivors)."""

    upload_bytes: int
    download_bytes: int
    parameters_sent: int
    full_finetuning_bytes: int
    upload_ratio: float = Field(description="full fine-tuning in fp32, divided by upload_bytes")


class Compute(Record):
    """Where the time and the memory went."""

    seconds: dict[str, float]
    examples_per_second: float
    peak_memory_bytes: int


class RecoveredText(Record):
    """One sentence that an attack gave back, beside what was really there."""

    truth: str
    recovered: str


class Estimate(Record):
    """A measure with its 95 % interval: of the bootstrap, and for a rate also that of Wilson."""

    value: float
    low: float
    high: float


class RocRecord(Record):
    """How a membership attack's scores told members from non-members: the corners of its ROC curve, as counts.

    Corners run from nobody called a member to everybody; rates are counts divided by `members` and `non_members`.
    """

    members: int = Field(ge=1)
    non_members: int = Field(ge=1)
    true_positives: tuple[int, ...]
    false_positives: tuple[int, ...]
    tpr_at_1_percent: Estimate
    tpr_at_01_percent: Estimate
    advantage: Estimate
    advantage_null: float = Field(description="of the null control: a search over thresholds lies above 0 by chance")

    @model_validator(mode="after")
    def _is_a_curve(self) -> "RocRecord":
        for counts, whole in ((self.true_positives, self.members), (self.false_positives, self.non_members)):
            if not counts or counts[0] != 0 or counts[-1] != whole or list(counts) != sorted(counts):
                raise ValueError("the counts of a ROC curve must rise from 0 to the number of examples")
        if len(self.true_positives) != len(self.false_positives):
            raise ValueError("a ROC curve needs as many true as false positive counts")
        return self


class AttackRow(Record):
    """One attack under one view: never without its null control and interval."""

    attack: str
    view: ViewName
    replay: bool
    metric: str
    value: float | None
    low: float | None
    high: float | None
    null: float | None
    note: str = ""
    token_budget: int | None = None
    tokens_present: int | None = None
    texts: tuple[RecoveredText, ...] = ()
    roc: RocRecord | None = Field(default=None, description="of membership attacks")


class Environment(Record):
    """Enough to repeat the run."""

    versions: dict[str, str]
    processor: str
    device: str
    precision: str
    seed: int


class AllocationRow(Record):
    """What one client trained of the module, and why: decided from public facts about its device."""

    client: str
    device: str
    layers: int = Field(description="from the output")
    rank: int
    targets: tuple[str, ...]
    batch: int
    local_steps: int
    memory_bytes: int = Field(description="of a step at its peak, by the cost model with headroom")
    seconds: float = Field(description="of a round's local training, by the cost model")
    reason: str


class Setup(Record):
    """What was run, in the words of the configuration after every "auto" was decided."""

    model: str
    data: str
    clients: int
    rounds: int
    method: str
    strategy: str
    strategy_reason: str
    protocol: str
    protocol_reason: str = "as configured"
    server: str
    groups: int = Field(default=1, description="with a secure sum each, in every round")
    robust: str = Field(default="off", description="the mean over the groups' sums")
    train_examples: int
    public_text: bool
    allocation: tuple[AllocationRow, ...] = Field(default=(), description="empty where all train the same")
    warnings: tuple[str, ...] = ()


class Result(Record):
    """The whole of `result.json`."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    setup: Setup
    utility: Utility
    personal: PersonalUtility | None = Field(default=None, description="on the clients' own held-out examples")
    privacy: Privacy
    communication: Communication
    compute: Compute
    attacks: tuple[AttackRow, ...]
    environment: Environment

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def to_json(self) -> str:
        """The text of `result.json`."""
        return self.model_dump_json(by_alias=True, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """Reads what `to_json` wrote."""
        return cls.model_validate_json(text)


class GroupSum(Record):
    """The secure sum of one group of a round's cohort."""

    members: tuple[str, ...]
    survivors: tuple[str, ...] = Field(description="empty where the sum failed")
    failure: str = ""


class RoundRecord(Record):
    """One line of `rounds.jsonl`."""

    round: int
    attempt: int
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    left: tuple[Departure, ...] = Field(default=(), description="for good, before this round")
    failure: str = ""
    groups: tuple[GroupSum, ...] = Field(default=(), description="where the cohort was split, by aggregation.groups")
    accuracy: float | None = Field(description="on the public validation split; null where it was not measured")
    loss: float | None
    epsilon_spent: dict[str, Number]
    clip_norm: float | None = Field(default=None, description="of whole updates, under client-level privacy")
    below_clip: float | None = Field(default=None, description="noised share of updates within an adaptive clip norm")
    ledger: LedgerHead
    upload_bytes: int = Field(description="of one client, mean over the survivors")
    download_bytes: int = Field(description="of one client, mean over the survivors")
    seconds: dict[str, float]
    model_hash: str
