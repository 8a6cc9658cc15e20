"""The typed configuration: one frozen model for each table of the TOML file, with every default."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

Epsilon = Annotated[
    float,
    Field(gt=0, allow_inf_nan=True),
    BeforeValidator(lambda value: math.inf if value == "inf" else value),
    PlainSerializer(lambda value: "inf" if math.isinf(value) else value, return_type=float | str),
]
"""A privacy budget: a positive number, or "inf" for none."""

Fraction = Annotated[float, Field(ge=0, lt=1)]

Custom = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
"""Somebody's own implementation: "package.module:Name"."""


class Table(BaseModel):
    """Base of every table: unknown keys are errors, values never change, and only a budget may be infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(Table):
    """`[model]`: the pre-trained model and its classification head."""

    name: str = "minilm"
    pooling: Literal["mean", "model"] = "mean"
    max_length: Annotated[int, Field(ge=4, le=8192)] = 64
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"


class PartitionConfig(Table):
    """`[data.partition]`: how the training examples are dealt to the clients."""

    scheme: Literal["dirichlet", "dirichlet_quantity", "iid", "pathological", "column"] = "dirichlet"
    alpha: Annotated[float, Field(gt=0)] = 0.5
    classes_per_client: Annotated[int, Field(ge=1)] = 1
    column: str = ""


class SyntheticConfig(Table):
    """`[data.synthetic]`: the generator behind `data.name = "synthetic"`."""

    examples: Annotated[int, Field(ge=50, le=1_000_000)] = 2000
    classes: Annotated[int, Field(ge=2, le=8)] = 2
    topics: Annotated[int, Field(ge=1, le=8)] = 4
    label_skew: Annotated[float, Field(ge=0, le=1)] = 0.5
    topic_skew: Annotated[float, Field(ge=0, le=1)] = 0.5
    quantity_skew: Annotated[float, Field(ge=0, le=1)] = 0.0
    label_noise: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    secrets_per_client: Annotated[int, Field(ge=0, le=1000)] = 0


class DataConfig(Table):
    """`[data]`: the labelled texts and how they are split."""

    name: str = "rotten_tomatoes"
    text: str = "text"
    label: str = "label"
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.06
    test_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.18
    split_seed: Annotated[int, Field(ge=0)] = 0
    partition: PartitionConfig = PartitionConfig()
    synthetic: SyntheticConfig = SyntheticConfig()


class ClientsConfig(Table):
    """`[clients]`: how many there are, how many take part in a round, how many vanish in simulation."""

    count: Annotated[int, Field(ge=1, le=100_000)] = 8
    per_round: Annotated[int, Field(ge=1, le=100_000)] = 8
    simulated_dropout: Fraction = 0.0


class PeftTable(Table):
    """`[peft]`: the small module that is trained."""

    method: Literal["lora", "rslora", "bitfit", "prefix", "prompt"] | Custom = "lora"
    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    targets: tuple[str, ...] = ("query", "value")
    virtual_tokens: Annotated[int, Field(ge=1, le=512)] = 8

    @property
    def low_rank(self) -> bool:
        """Whether the adapter is made of factors B and A, which some strategies need."""
        return self.method in ("lora", "rslora")

    @property
    def description(self) -> str:
        """The method and what it depends on, in words."""
        if self.low_rank:
            return f"{self.method}, rank {self.rank}, {', '.join(self.targets)}"
        if self.method in ("prefix", "prompt"):
            return f"{self.method}, {self.virtual_tokens} virtual tokens"
        return self.method


class TrainingConfig(Table):
    """`[training]`: what a client does in a round and what the server does with the mean."""

    rounds: Annotated[int, Field(ge=1, le=100_000)] = 24
    local_steps: Annotated[int, Field(ge=1, le=10_000)] = 1
    sample_rate: Annotated[float, Field(gt=0, le=1)] = 0.15
    nominal_batch: Annotated[int, Field(ge=1)] = 128
    physical_batch: Annotated[int, Field(ge=1)] = 32
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)] = 1.0
    server_optimizer: Literal["adamw", "sgd"] = "adamw"
    server_learning_rate: Annotated[float, Field(gt=0)] = 5e-3
    server_head_factor: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    server_schedule: Literal["auto", "linear", "constant"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    evaluate_every: Annotated[int, Field(ge=1)] = 2


class PrivacyConfig(Table):
    """`[privacy]`: every client's budget, and how it is counted."""

    unit: Literal["example", "client"] = "example"
    relation: Literal["add_remove", "replace_one"] = "add_remove"
    epsilon: Epsilon = 8.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    clip_norm: Annotated[float, Field(ge=1e-6)] = 1.0
    accountant: Literal["prv", "rdp", "pld"] = "prv"
    ledger: str = "run"
    noise: Literal["auto", "secure", "simulation"] = "auto"
    per_client: dict[str, Epsilon] = Field(default_factory=dict)


class AggregationConfig(Table):
    """`[aggregation]`: what the server does with a sum of updates."""

    strategy: str = "auto"


class SecureSumConfig(Table):
    """`[secure_sum]`: the protocol that hides the clients' updates, and what it must survive."""

    protocol: Literal["auto", "plain", "masked", "helper", "ckks", "bfv"] = "masked"
    server: Literal["malicious", "curious"] = "malicious"
    clients_stay: bool = True
    bits: Annotated[int, Field(ge=4, le=32)] = 16
    clip: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    min_cohort: Annotated[int, Field(ge=2)] = 3
    adversarial_fraction: Fraction = 0.1
    dropout_fraction: Fraction = 0.1


class AllocationConfig(Table):
    """`[allocation]`: who trains how much of the module."""

    strategy: Literal["uniform", "adaptive"] = "uniform"


class AttacksConfig(Table):
    """`[attacks]`: what the red team tries after the run."""

    run: tuple[Literal["span", "membership"], ...] = ("span", "membership")
    show_text: Literal["demo", "always", "never"] = "demo"


class Config(Table):
    """The whole configuration; `Config()` is the embedded default."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    clients: ClientsConfig = ClientsConfig()
    peft: PeftTable = PeftTable()
    training: TrainingConfig = TrainingConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    aggregation: AggregationConfig = AggregationConfig()
    secure_sum: SecureSumConfig = SecureSumConfig()
    allocation: AllocationConfig = AllocationConfig()
    attacks: AttacksConfig = AttacksConfig()

    @property
    def client_names(self) -> tuple[str, ...]:
        """The names by which budgets, messages and the ledger know the clients: client-1, client-2, …"""
        return tuple(f"client-{index}" for index in range(1, self.clients.count + 1))

    def epsilon_of(self, client: str) -> float:
        """The budget of `client`: its own entry in `privacy.per_client`, else `privacy.epsilon`."""
        return self.privacy.per_client.get(client, self.privacy.epsilon)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as TOML writes them."""
        return self.model_dump(mode="json")
