"""`[allocation]`: who trains how much, and on what device."""

import math
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer

from fedpeft_secure.settings.budgets import FILE_FORM, TABLE_FORM
from fedpeft_secure.settings.types import Limit, Positive, Rank, Rate, Table, Text, Unit

NotNegative = Annotated[float, Field(ge=0)]

LEAST_SIGNAL = 5.0
"""A weight whose noise is above a fifth of the mean weight says little about its layer."""


class DeviceTerms(Table):
    """Public facts about a device, declared or measured by `fedpeft doctor --profile`."""

    memory_mib: Annotated[float, Field(gt=0), Unit("MiB")] | None = None
    """Memory for model and training, beyond the interpreter and its libraries."""

    gflops: Annotated[float, Field(gt=0), Unit("GFLOP/s")] | None = None
    """Speed of matrix products."""

    upload_kib: Annotated[float, Field(gt=0), Unit("KiB")] | None = None
    """The most that the device may send in a round; no limit unless given."""

    seconds_per_gib: Annotated[float, Field(ge=0), Unit("s/GiB")] | None = None
    """Time for memory that a step moves, where a profile has measured it."""

    seconds_per_kernel: Annotated[float, Field(ge=0), Unit("s")] | None = None
    """Time for each layer pass, where a profile has measured it."""

    share: Annotated[float, Field(gt=0)] | None = None
    """Makes it a kind that clients without a device of their own are drawn from, in proportion to the shares."""

    profile: str = ""
    """A file that `fedpeft doctor --profile` wrote; its values stand for those that are not given here."""

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler) -> Any:
        return {name: value for name, value in write(self).items() if value not in (None, "")}


class MeasuredImportance(Table):
    """What `fedpeft characteristics` released of the clients' data: public, noised where the clients are private."""

    model: Text
    """The public name of the model that it was measured on."""

    targets: Annotated[tuple[Text, ...], Field(min_length=1)]
    """The adapted modules, one for each column of the weights."""

    weights: Annotated[tuple[Annotated[tuple[NotNegative, ...], Field(min_length=1)], ...], Field(min_length=1)]
    """Shares of the gradient, a row for each layer from the input to the output, a column for each target."""

    signal_to_noise: NotNegative
    """The mean share over the standard deviation of its noise; below 5 the documented prior counts instead."""

    noise_multiplier: NotNegative
    """The noise of every client, over the most that one example adds; 0 where the clients were not private."""

    sample_rate: Rate
    """The probability with which each example was looked at."""

    clients: Annotated[int, Field(ge=1), Unit("clients")]
    """How many clients are in the sum."""

    examples: Annotated[NotNegative, Unit("examples")]
    """About how many examples they have together."""

    label_entropy: Annotated[NotNegative, Unit("bits")]
    """About how evenly the labels of all of them are spread; only reported."""

    release: Text
    """The name under which the clients' ledgers were charged for it."""

    @property
    def private(self) -> bool:
        """Whether the clients added noise."""
        return self.noise_multiplier > 0

    @property
    def drowned(self) -> bool:
        """Whether there is too much noise to tell the layers apart."""
        return self.signal_to_noise < LEAST_SIGNAL


def _form(value: Any) -> str:
    return FILE_FORM if isinstance(value, str) else TABLE_FORM


Importance = Annotated[
    Annotated[str, Tag(FILE_FORM)] | Annotated[MeasuredImportance, Tag(TABLE_FORM)], Discriminator(_form)
]
"""The path of a file of `fedpeft characteristics`, or what it holds; `resolving.resolve` makes both the second."""


class AllocationConfig(Table):
    """`[allocation]`: who trains how much of the module."""

    strategy: Literal["uniform", "adaptive"] = "uniform"
    """Everybody the same module, or each what its device can; see [allocation.md](allocation.md)."""

    ranks: tuple[Rank, ...] | dict[str, Rank] = ()
    """Ranks dealt to the clients in turn, or a table by client; nobody's is above `peft.rank`."""

    devices: dict[str, DeviceTerms] = Field(default_factory=dict)
    """Devices for "adaptive", by client or by kind."""

    round_seconds: Annotated[Limit, Unit("s")] = math.inf
    """The longest local training of a round, for "adaptive"."""

    holders: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The least share of clients that train a layer, for "adaptive"; 1 where few would pull it to their own data."""

    smallest_batch: Annotated[int, Field(ge=1), Unit("examples")] = 4
    """The smallest batch that is still worth a pass, for "adaptive"."""

    importance: Importance = ""
    """For "adaptive": a file of `fedpeft characteristics`, or what it holds; unless given, upper layers count most."""

    importance_noise: Positive = 5.0
    """The noise of every private client in `fedpeft characteristics`, over the most that one example adds."""
