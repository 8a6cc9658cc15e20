"""The payloads of the sums in one message; see SPEC.md part II. Every size is known before anything is parsed."""

import hashlib
from dataclasses import dataclass, field

from secagg.codec import Layout
from secagg.crypto import SIGNATURE_BYTES, digest, verified
from secagg.errors import WireError
from secagg.identity import Identity
from secagg.masked_messages import pack_set, parse_set, set_bytes, split_records
from secagg.messages import KEY_HOLDER
from secagg.packing import Residues
from secagg.scheme import Hidden
from secagg.signing import opened, signed_message

ANNOUNCE, UPLOAD, OPEN = PHASES = ("announce", "upload", "open")
_HASH_BYTES = 32
_ROW_BYTES = 2 * _HASH_BYTES + SIGNATURE_BYTES


def session_id(plan_digest: bytes, announcement: bytes) -> bytes:
    """The session: a hash of the plan (with the manifest) and of the signed round key. Each party computes it."""
    return digest("one-message session", plan_digest, announcement)


def announce(public: bytes, *, plan_digest: bytes, identity: Identity) -> bytes:
    """The round's public key under the key holder's signature."""
    return public + identity.sign(signed_message(ANNOUNCE, context=plan_digest, name=KEY_HOLDER, body=public))


def parse_announcement(payload: bytes, *, public_bytes: int, plan_digest: bytes, key_holder: bytes) -> bytes:
    """The round's public key, if the pinned key holder signed it for this plan; raises WireError."""
    if len(payload) != public_bytes + SIGNATURE_BYTES:
        raise WireError(f"announcement of {len(payload)} bytes, {public_bytes + SIGNATURE_BYTES} expected")
    return opened(ANNOUNCE, context=plan_digest, name=KEY_HOLDER, public=key_holder, payload=payload)


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """What a client signs: the model that it received, and the hashes of what it sent to whom.

    Args: model: digest of everything it received. body: SHA-256 of what the server adds up. signature: its own.
    """

    model: bytes
    body: bytes
    signature: bytes = field(repr=False)

    def holds(self, *, session: bytes, name: str, capsule: bytes, public: bytes) -> bool:
        """Whether `name`'s identity signed this for the session and the capsule."""
        message = _statement(session=session, name=name, model=self.model, body=self.body, capsule=capsule)
        return verified(public, self.signature, message)


def state(hidden: Hidden, *, session: bytes, name: str, model: bytes, identity: Identity) -> Statement:
    """Signs one upload."""
    body = hashlib.sha256(hidden.body).digest()
    message = _statement(session=session, name=name, model=model, body=body, capsule=hidden.capsule)
    return Statement(model=model, body=body, signature=identity.sign(message))


def _statement(*, session: bytes, name: str, model: bytes, body: bytes, capsule: bytes) -> bytes:
    signed = model + body + hashlib.sha256(capsule).digest()
    return signed_message(UPLOAD, context=session, name=name, body=signed)


def parse_upload(payload: bytes, *, body_bytes: int, capsule_bytes: int, model: bytes) -> tuple[Hidden, Statement]:
    """Splits a client's only message; the signature is still to be checked. Raises WireError."""
    expected = body_bytes + capsule_bytes + SIGNATURE_BYTES
    if len(payload) != expected:
        raise WireError(f"upload of {len(payload)} bytes, {expected} expected")
    hidden = Hidden(body=payload[:body_bytes], capsule=payload[body_bytes : body_bytes + capsule_bytes])
    body = hashlib.sha256(hidden.body).digest()
    return hidden, Statement(model=model, body=body, signature=payload[-SIGNATURE_BYTES:])


def pack_request(statements: dict[int, Statement], collected: bytes, *, num_clients: int) -> bytes:
    """The server's only question to the key holder: who survived, what they signed, and what is to be opened."""
    ordered = sorted(statements)
    rows = [statements[p].model + statements[p].body + statements[p].signature for p in ordered]
    return b"".join([pack_set(ordered, num_clients=num_clients), *rows, collected])


def parse_request(payload: bytes, *, num_clients: int) -> tuple[dict[int, Statement], bytes]:
    """Inverts `pack_request`; raises WireError."""
    head = set_bytes(num_clients)
    positions = parse_set(payload[:head], num_clients=num_clients)
    end = head + len(positions) * _ROW_BYTES
    rows = split_records(payload[head:end], size=_ROW_BYTES, count=len(positions), what="statements")
    statements = {
        position: Statement(model=row[:32], body=row[32:64], signature=row[64:])
        for position, row in zip(positions, rows, strict=True)
    }
    return statements, payload[end:]


def pack_answer(
    positions: tuple[int, ...],
    residues: tuple[Residues, ...],
    *,
    layout: Layout,
    num_clients: int,
    request: bytes,
    session: bytes,
    identity: Identity,
) -> bytes:
    """The key holder's only answer: whose contributions are opened, and the residues, signed for this very request."""
    body = pack_set(positions, num_clients=num_clients) + layout.pack(residues)
    return body + identity.sign(_answer(body, request=request, session=session))


def parse_answer(
    payload: bytes, *, layout: Layout, num_clients: int, request: bytes, session: bytes, key_holder: bytes
) -> tuple[tuple[int, ...], tuple[Residues, ...]]:
    """Inverts `pack_answer`; raises WireError unless the pinned key holder signed it for this request."""
    body, signature = payload[:-SIGNATURE_BYTES], payload[-SIGNATURE_BYTES:]
    if not verified(key_holder, signature, _answer(body, request=request, session=session)):
        raise WireError("the answer is not signed by the pinned key holder for this request")
    head = set_bytes(num_clients)
    return parse_set(body[:head], num_clients=num_clients), layout.unpack(body[head:])


def _answer(body: bytes, *, request: bytes, session: bytes) -> bytes:
    signed = hashlib.sha256(request).digest() + body
    return signed_message(OPEN, context=session, name=KEY_HOLDER, body=signed)
