"""The client's transition tables: what the code runs, and what the diagram in the documentation is drawn from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from secagg.masked_messages import ADVERTISE, CONFIRM, SHARE, UNMASK, UPLOAD


class Transition(NamedTuple):
    """The phase of the message that is sent, and the state afterwards."""

    answer: str
    after: str


Table = Mapping[tuple[str, str], Transition]  # (state, phase of the server's request, or "" for the first step)

MALICIOUS: Final[Table] = MappingProxyType(
    {
        ("Start", ""): Transition(ADVERTISE, "Advertised"),
        ("Advertised", SHARE): Transition(SHARE, "Shared"),
        ("Shared", UPLOAD): Transition(UPLOAD, "Uploaded"),
        ("Uploaded", CONFIRM): Transition(CONFIRM, "Confirmed"),
        ("Confirmed", UNMASK): Transition(UNMASK, "Done"),
    }
)
CURIOUS: Final[Table] = MappingProxyType(
    {
        ("Start", ""): Transition(ADVERTISE, "Advertised"),
        ("Advertised", SHARE): Transition(SHARE, "Shared"),
        ("Shared", UPLOAD): Transition(UPLOAD, "Uploaded"),
        ("Uploaded", UNMASK): Transition(UNMASK, "Done"),
    }
)
