"""The shapes that every secure sum shares: sessions, what a member brings along, what it remembers, the result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from secagg.errors import RoundFailedError
from secagg.holder_memory import HolderMemory
from secagg.identity import Identity, KeyDirectory
from secagg.memory import ClientMemory
from secagg.messages import Envelope
from secagg.plan import SumPlan


class ClientSession(Protocol):
    """One client's state in one round; single-use: a stepped session raises when it is stepped again."""

    @property
    def name(self) -> str:
        """The client's name."""

    @property
    def done(self) -> bool:
        """Whether the client has nothing left to say."""

    @property
    def memory(self) -> ClientMemory:
        """What must be stored durably *before* the messages of the step that produced this session are sent."""

    def step(self, inbox: tuple[Envelope, ...]) -> tuple[Self, tuple[Envelope, ...]]:
        """Answers the server's messages; the first step takes none. Raises ProtocolError and is over."""


class ServerSession(Protocol):
    """The server's state in one round; single-use."""

    @property
    def result(self) -> "Aggregate | None":
        """The sum, once the round is over."""

    @property
    def rejected(self) -> tuple[str, ...]:
        """Why messages were not accepted, a line each; no payloads."""

    def step(self, inbox: tuple[Envelope, ...]) -> tuple[Self, tuple[Envelope, ...]]:
        """Closes the current phase with the messages that arrived; raises RoundFailedError."""


class HolderSession(Protocol):
    """The third party's state in one round of a sum in one message; single-use."""

    @property
    def done(self) -> bool:
        """Whether the key holder has nothing left to say."""

    @property
    def memory(self) -> HolderMemory:
        """What must be stored durably *before* the messages of the step that produced this session are sent."""

    def step(self, inbox: tuple[Envelope, ...]) -> tuple[Self, tuple[Envelope, ...]]:
        """Announces a key in the first step, later answers one request. Raises ProtocolError and is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """What a client brings to a round and checks the plan against.

    Args: name: the client's. identity, directory: needed where the server may lie. received: digest of each part that
        was received, computed by the client itself. memory: what it remembers of earlier rounds. min_cohort,
        adversarial_fraction, malicious_server: the least that it accepts. noised: whether its contribution is
        differentially private on its own; a plan that says so of one that is not would switch rules off.
    """

    name: str
    identity: Identity | None = None
    directory: KeyDirectory | None = None
    received: Mapping[str, bytes] = field(default_factory=dict)
    memory: ClientMemory = field(default_factory=ClientMemory)
    min_cohort: int = 1
    adversarial_fraction: float = 0.0
    malicious_server: bool = False
    noised: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Aggregate:
    """All that the server learns.

    Args: mean: weighted mean of the survivors, shape (dim,), float64. total_weight: sum of their weights.
        survivors: sorted names. integers: the exact integer sum, shape (dim,), int64.
    """

    mean: NDArray[np.float64] = field(repr=False)
    total_weight: int
    survivors: tuple[str, ...]
    integers: NDArray[np.int64] = field(repr=False)


def decode_sum(
    plan: SumPlan, total: tuple[NDArray[np.uint32] | NDArray[np.uint64], ...], survivors: tuple[str, ...]
) -> Aggregate:
    """Decodes a sum of residues and rejects what no honest survivors can have sent.

    Raises: RoundFailedError when a coordinate, the weight or the norm exceeds what the survivors' bounds allow.
    Does not cover: a lie within the bounds; one client can move each coordinate of the mean anywhere within ±clip.
    """
    codec, layout = plan.codec, plan.layout
    integers = codec.centred(total[0], layout=layout)
    largest = int(np.abs(integers).max())
    if largest > len(survivors) * codec.largest:
        raise RoundFailedError(
            f"sum reaches {largest}, above {len(survivors)} survivors × {codec.largest}: a client lied; try again"
        )
    if plan.weights is not None:
        total_weight = sum(weight for name, weight in zip(plan.clients, plan.weights, strict=True) if name in survivors)
    else:
        total_weight = int(total[1][0])
        if not len(survivors) <= total_weight <= len(survivors) * codec.weight_bound:
            raise RoundFailedError(
                f"total weight {total_weight} is impossible for {len(survivors)} survivors: a client lied"
            )
    if plan.max_norm is not None:
        norm = float(np.linalg.norm(integers * codec.step))
        rounding = len(survivors) * codec.step * plan.dim**0.5
        allowed = plan.max_norm * total_weight / codec.weight_bound + rounding
        if norm > allowed:
            raise RoundFailedError(
                f"sum has norm {norm:.6g}, above {allowed:.6g}: a client lied; start another attempt"
            )
    mean = codec.decode(integers, total_weight=total_weight)
    for array in (mean, integers):
        array.flags.writeable = False
    return Aggregate(mean=mean, total_weight=total_weight, survivors=survivors, integers=integers)
