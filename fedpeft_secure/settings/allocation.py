"""`[allocation]`: who trains how much, and on what device."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from fedpeft_secure.settings.types import Limit, Rank, Table, Unit


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
