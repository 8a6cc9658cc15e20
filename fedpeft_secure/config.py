"""The typed configuration: one frozen model for each table of the TOML file, with every default."""

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

Epsilon = Annotated[
    float,
    Field(gt=0, allow_inf_nan=True),
    BeforeValidator(lambda value: math.inf if value == "inf" else value),
    PlainSerializer(lambda value: "inf" if math.isinf(value) else value, return_type=float | str),
]
"""A privacy budget: a positive number, or "inf" for none."""

Limit = Epsilon
"""Any other bound that may be "inf"."""

Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
ClipNorm = Annotated[float, Field(ge=1e-6)]
Rank = Annotated[int, Field(ge=1, le=1024)]

LARGEST_DELTA = 1e-2


def _small(delta: float) -> float:
    if delta > LARGEST_DELTA:
        raise ValueError(
            f"above {LARGEST_DELTA:g} would allow giving away one example in a hundred outright; take well under "
            "1 / (number of examples), such as 1e-5"
        )
    return delta


Delta = Annotated[float, Field(gt=0, lt=1), AfterValidator(_small)]
"""A public δ; large values would make any ε meaningless."""

Custom = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
"""Somebody's own implementation: "package.module:Name"."""


class Table(BaseModel):
    """Base of every table: unknown keys are errors, values never change, and only a budget may be infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(Table):
    """`[model]`: the pre-trained model, and how it names a class: by a head, or in words."""

    name: str = "minilm"
    task: Literal["auto", "classification", "seq2seq", "causal"] = "auto"
    pooling: Literal["mean", "model"] = "mean"
    label_words: dict[str, str] = Field(default_factory=dict)
    cue: str = "\nLabel:"
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
    budget_group: str = ""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.06
    test_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.18
    client_test_fraction: Annotated[float, Field(ge=0, lt=0.9)] = 0.0
    split_seed: Annotated[int, Field(ge=0)] = 0
    partition: PartitionConfig = PartitionConfig()
    synthetic: SyntheticConfig = SyntheticConfig()


class ClientsConfig(Table):
    """`[clients]`: how many there are, how many take part in a round, how many vanish in simulation.

    With `over_selection` more are asked by that share, and the round closes once `per_round` have uploaded.
    """

    count: Annotated[int, Field(ge=1, le=100_000)] = 8
    per_round: Annotated[int, Field(ge=1, le=100_000)] = 8
    over_selection: Fraction = 0.0
    simulated_dropout: Fraction = 0.0


class PeftTable(Table):
    """`[peft]`: the small module that is trained."""

    method: (
        Literal[
            "lora", "rslora", "dora", "vera", "adalora", "ia3", "adapter", "bitfit", "prefix", "prompt", "full", "head"
        ]
        | Custom
    ) = "lora"
    rank: Rank = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    targets: tuple[str, ...] = ("query", "value")
    layers: Annotated[int, Field(ge=0, le=1024)] = 0
    virtual_tokens: Annotated[int, Field(ge=1, le=512)] = 8
    bottleneck: Annotated[int, Field(ge=1, le=4096)] = 16
    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    target_rank: Rank | Literal["auto"] = "auto"

    @property
    def low_rank(self) -> bool:
        """Whether the adapter is made of factors B and A, which some strategies need."""
        return self.method in ("lora", "rslora", "dora")

    @property
    def description(self) -> str:
        """The method and what it depends on, in words."""
        details = [self.method]
        if self.low_rank or self.method in ("vera", "adalora"):
            details += [f"rank {self.rank}", ", ".join(self.targets)]
        if self.method in ("prefix", "prompt"):
            details.append(f"{self.virtual_tokens} virtual tokens")
        if self.method == "adapter":
            details.append(f"{self.placement}, width {self.bottleneck}")
        if self.layers:
            details.append(f"top {self.layers} layers")
        return ", ".join(details)


class TrainingConfig(Table):
    """`[training]`: what a client does in a round and what the server does with the mean."""

    rounds: Annotated[int, Field(ge=1, le=100_000)] = 24
    local_steps: Annotated[int, Field(ge=1, le=10_000)] = 1
    sample_rate: Rate = 0.15
    nominal_batch: Annotated[int, Field(ge=1)] = 128
    physical_batch: Annotated[int, Field(ge=1)] = 32
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)] = 1.0
    proximal: Annotated[float, Field(ge=0)] = 0.0
    control_variates: bool = False
    server_optimizer: Literal["adamw", "sgd", "momentum", "adam", "yogi", "adagrad"] = "adamw"
    server_momentum: Annotated[float, Field(gt=0, lt=1)] = 0.9
    server_learning_rate: Annotated[float, Field(gt=0)] = 5e-3
    server_head_factor: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    server_schedule: Literal["auto", "linear", "constant"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    evaluate_every: Annotated[int, Field(ge=1)] = 2
    activation_cache_mib: Annotated[int, Field(ge=0)] = 512


class GroupTerms(Table):
    """Examples of one client with a budget of their own: ε, and their public share of a client's examples."""

    epsilon: Annotated[float, Field(gt=0)]
    share: Annotated[float, Field(gt=0, le=1)]


class ClientTerms(Table):
    """What one client has for itself; whatever is left out is as for everybody. A bare number is its ε.

    With ε the noise is calibrated; with a noise multiplier alone ε follows from it; with both they are checked.
    """

    epsilon: Epsilon | None = None
    delta: Delta | None = None
    sample_rate: Rate | None = None
    noise_multiplier: Annotated[float, Field(gt=0)] | None = None
    clip_norm: ClipNorm | None = None
    rounds: Annotated[int, Field(ge=1)] | None = None
    groups: dict[str, GroupTerms] | None = None

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        bare = value == "inf" or (isinstance(value, int | float) and not isinstance(value, bool))
        return {"epsilon": value} if bare else value

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler) -> Any:
        written = {name: value for name, value in write(self).items() if value is not None}
        return written["epsilon"] if list(written) == ["epsilon"] else written


class BudgetDistribution(Table):
    """Where every client's ε is drawn from, by the run's seed; the drawn budgets are public.

    "choice" takes one of `values` with probability `shares` (equal ones unless given), "uniform" lies between `low` and
    `high`; "lognormal" is cut to [low, high], which is the range of two standard deviations around its median.
    """

    distribution: Literal["choice", "uniform", "lognormal"]
    values: tuple[Annotated[float, Field(gt=0)], ...] = ()
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    low: Annotated[float, Field(gt=0)] | None = None
    high: Annotated[float, Field(gt=0)] | None = None

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler) -> Any:
        return {name: value for name, value in write(self).items() if value not in (None, [], ())}


def _form(value: Any) -> str:
    if isinstance(value, str):
        return FILE_FORM
    drawn = isinstance(value, BudgetDistribution) or (isinstance(value, dict) and "distribution" in value)
    return DISTRIBUTION_FORM if drawn else TABLE_FORM


FILE_FORM, DISTRIBUTION_FORM, TABLE_FORM = FORMS = ("<file>", "<distribution>", "<table>")

PerClient = Annotated[
    Annotated[str, Tag(FILE_FORM)]
    | Annotated[BudgetDistribution, Tag(DISTRIBUTION_FORM)]
    | Annotated[dict[str, ClientTerms], Tag(TABLE_FORM)],
    Discriminator(_form),
]
"""A table by client, the path of a CSV file, or a distribution; `per_client.resolve` makes all three the first."""


class ClippingConfig(Table):
    """`[privacy.clipping]`: whether the clip norm of whole updates is fixed or follows a quantile of their norms.

    `count_noise` is σ_b, the noise on the count of updates that are short enough; "auto" takes a twentieth of the
    cohort, or what a twentieth of the budget pays for.
    """

    scheme: Literal["fixed", "adaptive"] = "fixed"
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    rate: Annotated[float, Field(gt=0, le=2)] = 0.2
    count_noise: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"


class PrivacyConfig(Table):
    """`[privacy]`: every client's budget, and how it is counted."""

    unit: Literal["example", "client"] = "example"
    relation: Literal["add_remove", "replace_one"] = "add_remove"
    epsilon: Epsilon = 8.0
    delta: Delta = 1e-5
    clip_norm: ClipNorm = 1.0
    mechanism: Literal["auto", "distributed_discrete_gaussian", "distributed_skellam", "central"] = "auto"
    clipping: ClippingConfig = ClippingConfig()
    accountant: Literal["prv", "rdp", "pld"] = "prv"
    ledger: str = "run"
    noise: Literal["auto", "secure", "simulation"] = "auto"
    per_client: PerClient = Field(default_factory=dict)
    groups: dict[str, GroupTerms] = Field(default_factory=dict)


class AggregationConfig(Table):
    """`[aggregation]`: what the server does with a sum of updates.

    `weighing`: clients count by their examples, or all the same, as they do under DP in any case.
    """

    strategy: str = "auto"
    weighing: Literal["examples", "uniform"] = "examples"


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


class DeviceTerms(Table):
    """Public facts about a device, declared or measured by `fedpeft doctor --profile`.

    `share` makes it a kind that clients without a device of their own are drawn from; `profile` is a file that the
    doctor wrote, whose values take the place of those that are not given here.
    """

    memory_mib: Annotated[float, Field(gt=0)] | None = None
    gflops: Annotated[float, Field(gt=0)] | None = None
    upload_kib: Annotated[float, Field(gt=0)] | None = None
    seconds_per_gib: Annotated[float, Field(ge=0)] | None = None
    seconds_per_kernel: Annotated[float, Field(ge=0)] | None = None
    share: Annotated[float, Field(gt=0)] | None = None
    profile: str = ""

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler) -> Any:
        return {name: value for name, value in write(self).items() if value not in (None, "")}


class AllocationConfig(Table):
    """`[allocation]`: who trains how much of the module.

    `ranks` is dealt to the clients in turn, or a table by client; nobody's is above `peft.rank`. The rest is for
    "adaptive": `devices` by client or by kind, the longest round, and the smallest batch that is still worth a pass.
    """

    strategy: Literal["uniform", "adaptive"] = "uniform"
    ranks: tuple[Rank, ...] | dict[str, Rank] = ()
    devices: dict[str, DeviceTerms] = Field(default_factory=dict)
    round_seconds: Limit = math.inf
    smallest_batch: Annotated[int, Field(ge=1)] = 4


AttackName = Literal["span", "membership", "update-cosine", "lira", "lira-offline", "rmia", "rmia-offline", "quantile"]


class AttacksConfig(Table):
    """`[attacks]`: what the red team tries after the run."""

    run: tuple[AttackName, ...] = ("span", "membership")
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
