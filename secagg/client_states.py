"""The client's states in a masked sum: each holds what later phases need, and no secret that has been used up."""

from dataclasses import dataclass, field

from secagg.codec import Encoded
from secagg.crypto import Entropy
from secagg.graph import GraphPlan
from secagg.identity import KeyDirectory
from secagg.masked_messages import Roster
from secagg.plan import SumPlan
from secagg.signing import Signer


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Public:
    """What does not change during the round."""

    plan: SumPlan
    plan_digest: bytes
    contribution_digest: bytes
    graph: GraphPlan
    position: int
    directory: KeyDirectory | None
    signer: Signer = field(repr=False)
    entropy: Entropy = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Start:
    """Before the first message."""

    public: Public
    contribution: Encoded = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Advertised:
    """Keys are out; waits for the roster."""

    public: Public
    contribution: Encoded = field(repr=False)
    mask_private: bytes = field(repr=False)
    share_private: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    own_body: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shared:
    """Shares are out; waits for the others' shares. `opening_keys`: by neighbour."""

    public: Public
    contribution: Encoded = field(repr=False)
    mask_private: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    session: bytes
    roster: Roster
    neighbours: tuple[int, ...]
    opening_keys: dict[int, bytes] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Uploaded:
    """The masked vector is out; keeps only shares of others' secrets. `shares`: by neighbour, seed share, key share."""

    public: Public
    session: bytes
    neighbours: tuple[int, ...]
    sharers: tuple[int, ...]
    shares: dict[int, bytes] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Confirmed:
    """Has signed one survivor set; waits for its neighbours' signatures on the same."""

    public: Public
    session: bytes
    neighbours: tuple[int, ...]
    sharers: tuple[int, ...]
    survivors: tuple[int, ...]
    shares: dict[int, bytes] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Done:
    """Has answered everything that it ever will."""


State = Start | Advertised | Shared | Uploaded | Confirmed | Done
