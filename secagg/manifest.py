"""What every client of a round was sent and fills in: one hash binds it all to the session.

Source: Pasquini, Francati, Ateniese, CCS 2022 (arXiv 2111.07380): a server that sends different models defeats any
secure sum, unless masks cancel only among clients that saw the same one.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from secagg.crypto import digest
from secagg.errors import PlanError
from secagg.wire import Writer

DIGEST_BYTES = 32
WHOLE_MODEL = "model"


def part_digest(data: bytes) -> bytes:
    """SHA-256 of one part as the client received it."""
    return hashlib.sha256(data).digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One client's row: the parts that it was sent and the half-open ranges of coordinates that it fills."""

    parts: tuple[str, ...]
    covered: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The round's parts by digest, and each client's row; without a row a client gets every part and fills everything.

    Guarantee: two clients that were sent a part of the same name were sent the same bytes, or one of them refuses.
    Assumes: parts that depend on the rank are named by what they hold (as "adapter/0/rank-4…8"), not by client.
    """

    parts: Mapping[str, bytes] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.parts.items():
            if len(value) != DIGEST_BYTES:
                raise PlanError(f"manifest: digest of part {name!r} has {len(value)} bytes, {DIGEST_BYTES} needed")
        for client, entry in self.entries.items():
            if unknown := set(entry.parts) - set(self.parts):
                raise PlanError(f"manifest: {client!r} is sent unknown part {min(unknown)!r}")
            ends = [bound for covered in entry.covered for bound in covered]
            if any(a >= b for a, b in entry.covered) or ends != sorted(ends) or (ends and ends[0] < 0):
                raise PlanError(f"manifest: ranges of {client!r} are not ascending, disjoint and non-empty")

    @classmethod
    def whole_model(cls, model_digest: bytes) -> "Manifest":
        """Everybody is sent one model and fills every coordinate."""
        return cls(parts={WHOLE_MODEL: model_digest})

    def sent_to(self, client: str) -> dict[str, bytes]:
        """The digests of all that `client` was sent."""
        entry = self.entries.get(client)
        return dict(self.parts) if entry is None else {name: self.parts[name] for name in entry.parts}

    def model_digest(self, client: str) -> bytes:
        """One hash of everything that `client` was sent, whatever the names."""
        return digest("model", *sorted(self.sent_to(client).values()))

    def covered_by(self, client: str, *, dim: int) -> tuple[tuple[int, int], ...]:
        """The half-open ranges that `client` fills."""
        entry = self.entries.get(client)
        return ((0, dim),) if entry is None else entry.covered

    def fewest_fillers(self, clients: tuple[str, ...], *, dim: int) -> int:
        """The smallest number of `clients` that fill a coordinate, over all coordinates that any of them fills."""
        if not self.entries:
            return len(clients)
        changes: Counter[int] = Counter()
        for client in clients:
            for start, stop in self.covered_by(client, dim=dim):
                changes[start] += 1
                changes[stop] -= 1
        fillers = accumulate(changes[bound] for bound in sorted(changes))
        return min((count for count in fillers if count), default=0)

    @property
    def digest(self) -> bytes:
        """SHA-256 over parts and rows."""
        writer = Writer(b"")
        self.write(writer)
        return digest("manifest", writer.done())

    def write(self, writer: Writer) -> None:
        """Writes parts and rows, as the digest covers them and as they travel."""
        writer.uint(len(self.parts), num_bytes=4)
        for name in sorted(self.parts):
            writer.text(name).raw(self.parts[name])
        writer.uint(len(self.entries), num_bytes=4)
        for client in sorted(self.entries):
            entry = self.entries[client]
            writer.text(client).uint(len(entry.parts), num_bytes=4)
            for part in entry.parts:
                writer.text(part)
            writer.uint(len(entry.covered), num_bytes=4)
            for start, stop in entry.covered:
                writer.uint(start, num_bytes=8).uint(stop, num_bytes=8)
