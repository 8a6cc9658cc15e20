"""What differs between the sums in one message: how a contribution is hidden, and how the key holder opens the sum."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from secagg.codec import Encoded
from secagg.crypto import Entropy
from secagg.packing import Residues


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """What a hidden contribution belongs to: the session, its sender, and the model that the sender received."""

    session: bytes
    name: str
    model: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Hidden:
    """One client's hidden contribution: `body` is for the server, `capsule` is relayed to the key holder."""

    body: bytes = field(repr=False)
    capsule: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Opened:
    """What the key holder gives away: residues modulo 2^m, and whose share is in them (indices into the request)."""

    senders: tuple[int, ...]
    residues: tuple[Residues, ...] = field(repr=False)


class Scheme(Protocol):
    """One way to hide contributions of one plan; holds no secret.

    Args: body_bytes, capsule_bytes, collected_bytes: exact sizes, so that nothing of another size is ever parsed.
    """

    @property
    def public_bytes(self) -> int:
        """Size of the round's public key."""

    @property
    def body_bytes(self) -> int:
        """Size of what a client sends for the server."""

    @property
    def capsule_bytes(self) -> int:
        """Size of what a client sends for the key holder."""

    def collected_bytes(self, count: int) -> int:
        """Size of what the server sends to the key holder for `count` survivors."""

    def draw(self, entropy: Entropy) -> bytes:
        """Draws the secret of a round's key."""

    def public(self, secret: bytes, *, entropy: Entropy) -> bytes:
        """The round's public key."""

    def hide(self, contribution: Encoded, *, public: bytes, binding: Binding, entropy: Entropy) -> Hidden:
        """Hides one contribution; raises WireError or RefusedError for a bad public key."""

    def check(self, body: bytes) -> None:
        """Raises WireError for a body that cannot be added up."""

    def collect(self, uploads: Sequence[Hidden]) -> bytes:
        """What the key holder needs of the survivors' uploads."""

    def capsules(self, collected: bytes, *, count: int) -> tuple[bytes, ...]:
        """The survivors' capsules, as their signatures cover them."""

    def open(self, secret: bytes, collected: bytes, *, senders: Sequence[Binding]) -> Opened:
        """Opens the sum; raises RefusedError or WireError."""

    def finish(self, uploads: Sequence[Hidden], opened: Opened) -> tuple[Residues, ...]:
        """The sum of the opened contributions, reduced modulo 2^m."""
