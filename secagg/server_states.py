"""What the server has gathered after each phase of a masked sum; nothing in it is secret to the server."""

from dataclasses import dataclass, field

from secagg.masked_messages import ADVERTISE, Roster
from secagg.packing import Residues
from secagg.session import Aggregate


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Progress:
    """The phase that is open, and what the closed ones left behind; clients are positions in the cohort."""

    phase: str = ADVERTISE
    roster: Roster = field(default_factory=lambda: Roster(adverts={}))
    session: bytes = b""
    neighbours: dict[int, tuple[int, ...]] = field(default_factory=dict, repr=False)
    sharers: tuple[int, ...] = ()
    total: tuple[Residues, ...] = field(default=(), repr=False)
    survivors: tuple[int, ...] = ()
    rejected: tuple[str, ...] = ()
    result: Aggregate | None = None
