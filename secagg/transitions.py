"""The transition tables of clients and key holder: what the code runs, and what the documentation draws."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from secagg.masked_messages import ADVERTISE, CONFIRM, SHARE, UNMASK, UPLOAD
from secagg.one_message_wire import ANNOUNCE, OPEN


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
ONE_MESSAGE: Final[Table] = MappingProxyType({("Waiting", UPLOAD): Transition(UPLOAD, "Done")})
THIRD_PARTY: Final[Table] = MappingProxyType(
    {
        ("Start", ""): Transition(ANNOUNCE, "Announced"),
        ("Announced", OPEN): Transition(OPEN, "Done"),
    }
)
