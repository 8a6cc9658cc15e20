"""The payloads of the masked sum; see SPEC.md for the table. Every parser is strict and needs only public context."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from secagg.crypto import KEY_BYTES, SIGNATURE_BYTES, digest
from secagg.errors import WireError
from secagg.shamir import SHARE_BYTES

ADVERTISE, SHARE, UPLOAD, CONFIRM, UNMASK = PHASES = ("advertise", "share", "upload", "confirm", "unmask")
SEALED_BYTES = 2 * SHARE_BYTES + 16
MISSING, SEED_SHARE, KEY_SHARE = 0, 1, 2


ADVERT_BYTES = 3 * KEY_BYTES


class Advert(NamedTuple):
    """A client's keys for one session: mask key, sharing key, commitment to its self-mask seed, and its signature."""

    mask_key: bytes
    share_key: bytes
    commitment: bytes
    signature: bytes

    @property
    def body(self) -> bytes:
        """What is signed."""
        return self.mask_key + self.share_key + self.commitment

    @classmethod
    def parse(cls, data: bytes, *, signature_bytes: int) -> "Advert":
        """Splits a body and a signature of the expected size."""
        if len(data) != ADVERT_BYTES + signature_bytes:
            raise WireError(f"advertisement of {len(data)} bytes, {ADVERT_BYTES + signature_bytes} expected")
        return cls(data[:32], data[32:64], data[64:96], data[96:])


@dataclass(frozen=True, kw_only=True, slots=True)
class Roster:
    """Who advertised what, by position in the cohort."""

    adverts: dict[int, Advert] = field(repr=False)

    def to_bytes(self, *, num_clients: int) -> bytes:
        """A bitmap of the positions, then the adverts in order."""
        ordered = sorted(self.adverts)
        bodies = [self.adverts[p].body + self.adverts[p].signature for p in ordered]
        return b"".join([pack_set(ordered, num_clients=num_clients), *bodies])

    @classmethod
    def parse(cls, data: bytes, *, num_clients: int, signature_bytes: int) -> "Roster":
        """Inverts `to_bytes`."""
        head = set_bytes(num_clients)
        positions = parse_set(data[:head], num_clients=num_clients)
        size = ADVERT_BYTES + signature_bytes
        if len(data) != head + size * len(positions):
            raise WireError(f"roster of {len(data)} bytes, {head + size * len(positions)} expected")
        return cls(
            adverts={
                position: Advert.parse(data[head + i * size : head + (i + 1) * size], signature_bytes=signature_bytes)
                for i, position in enumerate(positions)
            }
        )


def session_id(plan_digest: bytes, roster: bytes) -> bytes:
    """The session: a hash of the plan (with the manifest) and of all signed keys. Each party computes it itself."""
    return digest("session", plan_digest, roster)


def set_bytes(num_clients: int) -> int:
    """Size of a bitmap over the cohort."""
    return -(-num_clients // 8)


def pack_set(positions: list[int] | tuple[int, ...], *, num_clients: int) -> bytes:
    """A bitmap of positions in the cohort, least significant bit first."""
    flags = np.zeros(num_clients, dtype=np.uint8)
    flags[list(positions)] = 1
    return np.packbits(flags, bitorder="little").tobytes()


def parse_set(data: bytes, *, num_clients: int) -> tuple[int, ...]:
    """Inverts `pack_set`: sorted positions; raises WireError for strangers and wrong sizes."""
    if len(data) != set_bytes(num_clients):
        raise WireError(f"set of {len(data)} bytes, {set_bytes(num_clients)} expected")
    flags = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
    if flags[num_clients:].any():
        raise WireError("set names clients outside the cohort")
    return tuple(np.flatnonzero(flags).tolist())


def confirmed_sets(sharers: tuple[int, ...], survivors: tuple[int, ...], *, num_clients: int) -> bytes:
    """The body that everybody signs in the consistency round."""
    return pack_set(sharers, num_clients=num_clients) + pack_set(survivors, num_clients=num_clients)


def split_records(data: bytes, *, size: int, count: int, what: str) -> list[bytes]:
    """Splits `count` records of `size` bytes, exactly."""
    if len(data) != size * count:
        raise WireError(f"{what} of {len(data)} bytes, {size * count} expected")
    return [data[start : start + size] for start in range(0, len(data), size)]


def pack_signatures(signatures: dict[int, bytes], *, num_clients: int) -> bytes:
    """A bitmap of the signers, then their signatures in order."""
    ordered = sorted(signatures)
    return b"".join([pack_set(ordered, num_clients=num_clients), *(signatures[position] for position in ordered)])


def parse_signatures(data: bytes, *, num_clients: int) -> dict[int, bytes]:
    """Inverts `pack_signatures`."""
    head = set_bytes(num_clients)
    signers = parse_set(data[:head], num_clients=num_clients)
    records = split_records(data[head:], size=SIGNATURE_BYTES, count=len(signers), what="signatures")
    return dict(zip(signers, records, strict=True))


def pack_shares(shares: list[tuple[int, bytes]]) -> bytes:
    """(kind, share) records; a missing share is 33 zero bytes."""
    return b"".join(bytes([kind]) + (share if kind else bytes(SHARE_BYTES)) for kind, share in shares)


def parse_shares(data: bytes, *, count: int) -> list[tuple[int, bytes]]:
    """Inverts `pack_shares`."""
    records = [
        (record[0], record[1:])
        for record in split_records(data, size=1 + SHARE_BYTES, count=count, what="unmask answer")
    ]
    for kind, share in records:
        if kind > KEY_SHARE or (kind == MISSING and any(share)):
            raise WireError(f"unmask answer holds a share of unknown kind {kind}")
    return records
