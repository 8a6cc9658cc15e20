"""What is signed: version, phase, context (the plan before the session exists, then the session), name and payload."""

from dataclasses import dataclass, field

from secagg.crypto import SIGNATURE_BYTES, digest, verified
from secagg.errors import WireError
from secagg.identity import Identity


def signed_message(phase: str, *, context: bytes, name: str, body: bytes) -> bytes:
    """The 32 bytes that a client signs for one of its messages."""
    return digest("signed", phase.encode(), context, name.encode(), body)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signer:
    """Appends a client's signature; without an identity (curious server) it appends nothing."""

    name: str
    identity: Identity | None = field(repr=False)

    def signed(self, phase: str, *, context: bytes, body: bytes) -> bytes:
        """Returns body and signature."""
        if self.identity is None:
            return body
        return body + self.identity.sign(signed_message(phase, context=context, name=self.name, body=body))


def opened(phase: str, *, context: bytes, name: str, public: bytes | None, payload: bytes) -> bytes:
    """Checks the signature at the end of `payload` and returns the body; without a key there is no signature.

    Raises: WireError.
    """
    if public is None:
        return payload
    body, signature = payload[:-SIGNATURE_BYTES], payload[-SIGNATURE_BYTES:]
    if not verified(public, signature, signed_message(phase, context=context, name=name, body=body)):
        raise WireError(f"{phase} message of {name!r} is not signed by its identity")
    return body
