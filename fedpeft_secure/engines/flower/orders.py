"""What the server and a node say to each other, signed by us: the carrier's own signatures cover no bodies.

The carrier is not trusted: who carries orders and answers can drop them, and nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import secagg
from secagg.crypto import SIGNATURE_BYTES, digest, verified
from secagg.wire import Reader, Writer

ORDER_MAGIC, ANSWER_MAGIC, BUNDLE_MAGIC = b"FFO\x01", b"FFA\x01", b"FFB\x01"
DIGEST_BYTES: Final = 32

JOIN, TRAIN, CONTINUE, STEP, HOLD = KINDS = ("join", "train", "continue", "step", "hold")
"""Who are you; train; the next sum; hear this and answer; to a key holder."""

DONE, REFUSED = "done", "refused"
MOST_REASON_BYTES = 4000


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One message of the server to a node.

    Args:
        run: the run's name.
        number: larger than that of every order before it from this server, so that none is obeyed twice.
        kind: one of KINDS.
        recipient: the party that it is for; empty for "join", which asks who is there.
        body: depends on the kind.
    """

    run: str
    number: int
    kind: str
    recipient: str
    body: bytes = field(repr=False)

    def signed(self, identity: secagg.Identity) -> bytes:
        """The order as bytes, with the server's signature."""
        body = self._unsigned()
        return body + identity.sign(digest("flower order", body))

    def _unsigned(self) -> bytes:
        writer = Writer(ORDER_MAGIC).text(self.run).uint(self.number, num_bytes=8)
        return writer.text(self.kind).text(self.recipient).blob(self.body).done()

    @classmethod
    def opened(cls, data: bytes, *, server_key: bytes) -> "Order":
        """Checks the signature, then parses strictly.

        Raises:
            secagg.WireError: If it is not what this server signed.
        """
        unsigned = _verified(data, "flower order", server_key, "order")
        reader = Reader(data=unsigned, what="order").magic(ORDER_MAGIC)
        order = cls(
            run=reader.text(),
            number=reader.uint(num_bytes=8),
            kind=reader.text(),
            recipient=reader.text(),
            body=reader.blob(),
        )
        reader.end()
        if order.kind not in KINDS:
            raise secagg.WireError(f"order: {order.kind!r} is none of {', '.join(KINDS)}")
        return order


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a node says to one order.

    Args:
        order: the digest of the order's bytes, which makes an answer good for that order only.
        sender: the party that answers.
        kind: "done" or "refused".
        body: envelopes; or the reason of a refusal as text.
    """

    order: bytes
    sender: str
    kind: str
    body: bytes = field(repr=False)

    def signed(self, identity: secagg.Identity) -> bytes:
        """The answer as bytes, with the party's signature."""
        writer = Writer(ANSWER_MAGIC).raw(self.order).text(self.sender).text(self.kind).blob(self.body)
        body = writer.done()
        return body + identity.sign(digest("flower answer", body))

    @classmethod
    def opened(cls, data: bytes, *, order: bytes, directory: secagg.KeyDirectory) -> "Answer":
        """Parses strictly, and checks that a pinned party signed it, for this very order.

        Args:
            data: what arrived.
            order: the bytes of the order that was sent there.
            directory: everybody's pinned public keys.

        Raises:
            secagg.WireError: If it is malformed, of a stranger, or an answer to another order.
        """
        reader = Reader(data=data[:-SIGNATURE_BYTES], what="answer").magic(ANSWER_MAGIC)
        answer = cls(order=reader.raw(DIGEST_BYTES), sender=reader.text(), kind=reader.text(), body=reader.blob())
        reader.end()
        key = directory.key_holder if answer.sender == secagg.messages.KEY_HOLDER else b""
        key = directory.members.get(answer.sender, key)
        if not key:
            raise secagg.WireError(f"answer: {answer.sender!r} is not in the key directory")
        _verified(data, "flower answer", key, f"answer of {answer.sender!r}")
        if answer.order != order_digest(order):
            raise secagg.WireError(f"answer of {answer.sender!r}: it belongs to another order")
        if answer.kind not in (DONE, REFUSED):
            raise secagg.WireError(f"answer of {answer.sender!r}: kind {answer.kind!r} is unknown")
        return answer

    @property
    def reason(self) -> str:
        """Why the party refused, as one line."""
        return " ".join(self.body.decode("utf-8", "replace").split())


def order_digest(order: bytes) -> bytes:
    """What an answer names its order by."""
    return digest("flower order bytes", order)


def bundle(envelopes: Iterable[secagg.Envelope]) -> bytes:
    """Several protocol messages as one body."""
    packed = [envelope.to_bytes() for envelope in envelopes]
    writer = Writer(BUNDLE_MAGIC).uint(len(packed), num_bytes=4)
    for data in packed:
        writer.blob(data)
    return writer.done()


def unbundle(body: bytes) -> tuple[secagg.Envelope, ...]:
    """Inverts `bundle`; raises WireError."""
    reader = Reader(data=body, what="bundle").magic(BUNDLE_MAGIC)
    found = [secagg.Envelope.from_bytes(reader.blob()) for _ in range(reader.uint(num_bytes=4))]
    reader.end()
    return tuple(found)


def join_parts(terms: bytes, request: bytes) -> bytes:
    """The body of a "train" order: the run's terms, so that a node that was restarted can go on, and the request."""
    return Writer(BUNDLE_MAGIC).blob(terms).blob(request).done()


def split_parts(body: bytes) -> tuple[bytes, bytes]:
    """Inverts `join_parts`; raises WireError."""
    reader = Reader(data=body, what="training order").magic(BUNDLE_MAGIC)
    terms, request = reader.blob(), reader.blob()
    reader.end()
    return terms, request


def _verified(data: bytes, label: str, key: bytes, what: str) -> bytes:
    body, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    if not verified(key, signature, digest(label, body)):
        raise secagg.WireError(f"{what}: the signature is not that of the pinned key")
    return body
