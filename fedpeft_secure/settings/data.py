"""`[data]`: the labelled texts, who holds which, and the generator of synthetic ones."""

from typing import Annotated, Literal

from pydantic import Field

from fedpeft_secure.settings.types import Positive, Share, Table, Unit


class PartitionConfig(Table):
    """`[data.partition]`: how the training examples are dealt to the clients."""

    scheme: Literal["dirichlet", "dirichlet_quantity", "iid", "pathological", "column"] = "dirichlet"
    """Skewed labels at equal sizes, skewed labels and sizes, all alike, few classes each, or by a column's values."""

    alpha: Positive = 0.5
    """The Dirichlet concentration of both Dirichlet schemes: the smaller, the more clients differ."""

    classes_per_client: Annotated[int, Field(ge=1), Unit("classes")] = 1
    """How many classes a client holds under the scheme "pathological"."""

    column: str = ""
    """The column whose values tell the owner under the scheme "column"."""


class SyntheticConfig(Table):
    """`[data.synthetic]`: the generator behind `data.name = "synthetic"`."""

    examples: Annotated[int, Field(ge=50, le=1_000_000), Unit("texts")] = 2000
    """How many messages are written, the public ones included."""

    classes: Annotated[int, Field(ge=2, le=8), Unit("classes")] = 2
    """How many classes there are."""

    topics: Annotated[int, Field(ge=1, le=8), Unit("topics")] = 4
    """How many topics the messages are about."""

    label_skew: Share = 0.5
    """The probability that a client's message has its favourite class; 0 makes clients alike."""

    topic_skew: Share = 0.5
    """The same for topics."""

    quantity_skew: Share = 0.0
    """How unequal clients are in size: sizes fall as 1/k^(2·skew)."""

    label_noise: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """The share of the clients' labels that are replaced by another class."""

    secrets_per_client: Annotated[int, Field(ge=0, le=1000), Unit("secrets")] = 0
    """Made-up secrets that are planted in each client's texts, for attacks to look for."""


class DataConfig(Table):
    """`[data]`: the labelled texts and how they are split."""

    name: str = "rotten_tomatoes"
    """`rotten_tomatoes`, `bbc_news` (extra `bbc`), `synthetic`; a CSV, JSONL or Parquet file; or a hub data set."""

    text: str = "text"
    """The column of a file or hub data set that holds the texts."""

    label: str = "label"
    """The column that holds the classes."""

    budget_group: str = ""
    """The column that names each example's group of `privacy.groups`; without one they are dealt by their shares."""

    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.06
    """The share of each class that is set apart as public validation data, on which every choice is made."""

    test_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.18
    """The share of each class that is set apart as public test data, read once at the end."""

    client_test_fraction: Annotated[float, Field(ge=0, lt=0.9)] = 0.0
    """The share of its own examples that each client keeps back to test its own model on."""

    split_seed: Annotated[int, Field(ge=0)] = 0
    """Decides the public splits alone, so that runs of every `seed` are tested on the same texts."""

    partition: PartitionConfig = PartitionConfig()
    """How the training examples are dealt to the clients."""

    synthetic: SyntheticConfig = SyntheticConfig()
    """What the generator of `data.name = "synthetic"` writes."""
