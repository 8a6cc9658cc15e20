"""`HelperSum`: x + PRG(seed) to the server, the seed sealed to a key holder that gives back only a sum of masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from secagg.codec import Encoded, Layout
from secagg.crypto import KEY_BYTES, Agreement, Entropy, derive, seal, unseal, x25519_public
from secagg.errors import RefusedError
from secagg.masked_messages import split_records
from secagg.masks import HELPER_MASK, Masker
from secagg.one_message import OneMessageSum
from secagg.packing import Residues
from secagg.plan import SumPlan
from secagg.scheme import Binding, Hidden, Opened, Scheme

CAPSULE_BYTES: Final = KEY_BYTES + KEY_BYTES + 16


@dataclass(frozen=True, kw_only=True, slots=True)
class HelperScheme:
    """One-time masks whose seeds only the key holder can open.

    Guarantee: each body is uniform modulo 2^m to whoever lacks its seed; a seed opens under the key, session, sender
        and model that it was sealed for, and nowhere else.
    """

    layout: Layout

    @property
    def public_bytes(self) -> int:
        """An X25519 key."""
        return KEY_BYTES

    @property
    def body_bytes(self) -> int:
        """A packed vector."""
        return self.layout.packed_bytes

    @property
    def capsule_bytes(self) -> int:
        """A one-time public key and the sealed seed."""
        return CAPSULE_BYTES

    def collected_bytes(self, count: int) -> int:
        """All capsules."""
        return count * CAPSULE_BYTES

    def draw(self, entropy: Entropy) -> bytes:
        """An X25519 private key."""
        return entropy(KEY_BYTES)

    def public(self, secret: bytes, *, entropy: Entropy) -> bytes:
        """Its public half."""
        del entropy
        return x25519_public(secret)

    def hide(self, contribution: Encoded, *, public: bytes, binding: Binding, entropy: Entropy) -> Hidden:
        """Masks the contribution under a fresh seed; raises RefusedError for a key of low order."""
        seed, once = entropy(KEY_BYTES), entropy(KEY_BYTES)
        masked = tuple(array.copy() for array in contribution.residues)
        Masker(self.layout, session=binding.session).add(masked, key=seed, purpose=HELPER_MASK)
        self.layout.reduce(masked)
        point = x25519_public(once)
        key = _sealing_key(Agreement(once).with_public(public), public=public, point=point, binding=binding)
        return Hidden(body=self.layout.pack(masked), capsule=point + seal(key, seed, context=binding.session))

    def check(self, body: bytes) -> None:
        """Raises WireError unless the body unpacks."""
        self.layout.unpack(body)

    def collect(self, uploads: Sequence[Hidden]) -> bytes:
        """All capsules, in order."""
        return b"".join(upload.capsule for upload in uploads)

    def capsules(self, collected: bytes, *, count: int) -> tuple[bytes, ...]:
        """Inverts `collect`."""
        return tuple(split_records(collected, size=CAPSULE_BYTES, count=count, what="capsules"))

    def open(self, secret: bytes, collected: bytes, *, senders: Sequence[Binding]) -> Opened:
        """The sum of the masks of every sender whose seed opens."""
        total, agreement, public = self.layout.zeros(), Agreement(secret), x25519_public(secret)
        usable = []
        for index, (capsule, binding) in enumerate(
            zip(self.capsules(collected, count=len(senders)), senders, strict=True)
        ):
            seed = _seed(capsule, agreement, public=public, binding=binding)
            if seed is None:
                continue
            Masker(self.layout, session=binding.session).add(total, key=seed, purpose=HELPER_MASK)
            usable.append(index)
        self.layout.reduce(total)
        return Opened(senders=tuple(usable), residues=total)

    def finish(self, uploads: Sequence[Hidden], opened: Opened) -> tuple[Residues, ...]:
        """The masked vectors of the opened senders less the sum of their masks."""
        total = self.layout.zeros()
        for index in opened.senders:
            for sum_array, array in zip(total, self.layout.unpack(uploads[index].body), strict=True):
                np.add(sum_array, array, out=sum_array)
        for sum_array, mask in zip(total, opened.residues, strict=True):
            np.subtract(sum_array, mask, out=sum_array)
        self.layout.reduce(total)
        return total


def _sealing_key(shared: bytes, *, public: bytes, point: bytes, binding: Binding) -> bytes:
    """One key a capsule: both public keys, the session, the sender and its model are in it."""
    return derive(shared, "capsule", public, point, binding.session, binding.name.encode(), binding.model)


def _seed(capsule: bytes, agreement: Agreement, *, public: bytes, binding: Binding) -> bytes | None:
    point, sealed = capsule[:KEY_BYTES], capsule[KEY_BYTES:]
    try:
        shared = agreement.with_public(point)
    except RefusedError:
        return None
    return unseal(_sealing_key(shared, public=public, point=point, binding=binding), sealed, context=binding.session)


@dataclass(frozen=True, kw_only=True, slots=True)
class HelperSum(OneMessageSum):
    """A secure sum by one-time masks and a key holder that sees masks only.

    Guarantee: exact; the server learns the sum over one signed set of at least min_cohort clients a session, even if it
        lies; the key holder learns who took part, and nothing of any vector.
    Assumes: server and key holder do not collude; at most min_cohort - 2 clients of a sum are corrupt.
    Does not cover: a client's well-formed lie about its own vector; what the sum itself reveals.
    """

    label = "helper"
    malicious_server = True

    def scheme(self, plan: SumPlan) -> Scheme:
        """Masks over the plan's layout."""
        return HelperScheme(layout=plan.layout)
