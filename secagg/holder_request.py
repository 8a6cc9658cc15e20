"""What a server asks of a key holder that runs on its own, as bytes: a key for a plan, or the sum of its round."""

import os
from dataclasses import dataclass, field
from typing import Final

from secagg.crypto import Entropy
from secagg.errors import PlanError, RefusedError, WireError
from secagg.he import BfvSum, CkksSum
from secagg.helper import HelperSum
from secagg.holder_memory import HolderMemory
from secagg.identity import Identity, KeyDirectory
from secagg.messages import KEY_HOLDER, SERVER, Envelope
from secagg.one_message_wire import ANNOUNCE, OPEN
from secagg.plan import SumPlan
from secagg.plan_bytes import decode_plan, encode_plan
from secagg.wire import Reader, Writer

MAGIC = b"FSQ\x01"
MAX_REQUEST_BYTES: Final = 1 << 30
PROTOCOLS: Final = {protocol.label: protocol for protocol in (HelperSum, BfvSum, CkksSum)}


@dataclass(frozen=True, kw_only=True, slots=True)
class HolderRequest:
    """One question. `phase`: "announce" (then `payload` is empty) or "open" (then it is the server's message)."""

    plan: SumPlan
    phase: str
    payload: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if self.phase not in (ANNOUNCE, OPEN) or (self.phase == ANNOUNCE and self.payload):
            raise WireError(f'request: phase {self.phase!r} must be "{ANNOUNCE}" without a payload, or "{OPEN}"')

    def to_bytes(self) -> bytes:
        """Encodes the request; `from_bytes` inverts it."""
        return Writer(MAGIC).blob(encode_plan(self.plan)).text(self.phase).blob(self.payload).done()

    @classmethod
    def from_bytes(cls, data: bytes) -> "HolderRequest":
        """Parses strictly; raises WireError, PlanError or CodecError."""
        if len(data) > MAX_REQUEST_BYTES:
            raise WireError(f"request of {len(data)} bytes is larger than {MAX_REQUEST_BYTES}")
        reader = Reader(data=data, what="request").magic(MAGIC)
        plan, phase, payload = decode_plan(reader.blob()), reader.text(), reader.blob()
        reader.end()
        return cls(plan=plan, phase=phase, payload=payload)


def answer(
    request: HolderRequest,
    *,
    identity: Identity,
    directory: KeyDirectory,
    memory: HolderMemory,
    min_cohort: int,
    entropy: Entropy = os.urandom,
) -> tuple[HolderMemory, Envelope]:
    """Answers one request; the new memory must be stored before the message is sent.

    Raises: RefusedError, PlanError.
    """
    if request.plan.protocol not in PROTOCOLS:
        raise PlanError(f"the {request.plan.protocol!r} sum has no key holder; there are {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[request.plan.protocol](codec=request.plan.codec, min_cohort=request.plan.min_cohort)
    session = protocol.key_holder(
        request.plan,
        identity=identity,
        directory=directory,
        memory=memory,
        min_cohort=min_cohort,
        entropy=entropy,
    )
    question = Envelope(sender=SERVER, recipient=KEY_HOLDER, phase=request.phase, payload=request.payload)
    after, sent = session.step((question,) if request.phase == OPEN else ())
    if not sent:
        raise RefusedError("a key for this round was announced before; use that announcement, or plan another attempt")
    return after.memory, sent[0]
