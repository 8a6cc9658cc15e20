"""A client of a sum in one message, as a state machine without I/O: it waits for the round's key, uploads, is done."""

from dataclasses import dataclass, field

from secagg import one_message_wire as wire
from secagg.codec import Encoded
from secagg.crypto import Entropy, digest
from secagg.errors import RefusedError, SessionSpentError, WireError
from secagg.identity import Identity
from secagg.memory import ClientMemory
from secagg.messages import SERVER, Envelope
from secagg.one_message_wire import ANNOUNCE, UPLOAD
from secagg.plan import SumPlan
from secagg.scheme import Binding, Scheme
from secagg.transitions import ONE_MESSAGE


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Waiting:
    """Before the only message. `key_holder`: the identity that the client pinned."""

    plan: SumPlan
    plan_digest: bytes
    scheme: Scheme
    identity: Identity = field(repr=False)
    key_holder: bytes
    contribution: Encoded = field(repr=False)
    contribution_digest: bytes
    entropy: Entropy = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Done:
    """Has said everything that it ever will."""


@dataclass(slots=True, eq=False)
class OneMessageClient:
    """A client session.

    Guarantee: one upload, under a key that the pinned key holder signed for this very plan; afterwards neither the
        contribution nor any secret of the upload is reachable from the session.
    Assumes: `memory` of the returned session is stored before its message is sent.
    """

    name: str
    memory: ClientMemory
    _state: Waiting | Done | None = field(repr=False)

    @property
    def done(self) -> bool:
        """Whether the client has nothing left to say."""
        return isinstance(self._state, Done)

    @property
    def state(self) -> str:
        """The state's name in the transition table."""
        return "Spent" if self._state is None else type(self._state).__name__

    def step(self, inbox: tuple[Envelope, ...]) -> tuple["OneMessageClient", tuple[Envelope, ...]]:
        """Waits for the announcement, then uploads; see `ClientSession.step`."""
        state, self._state = self._state, None
        if not isinstance(state, Waiting):
            raise SessionSpentError(f"session of {self.name!r} was already stepped or is over; start a new round")
        announcement = self._announcement(inbox)
        if announcement is None:
            return OneMessageClient(self.name, self.memory, state), ()
        memory, payload = _upload(state, self.memory, self.name, announcement)
        answer = ONE_MESSAGE["Waiting", UPLOAD].answer
        envelope = Envelope(sender=self.name, recipient=SERVER, phase=answer, payload=payload)
        return OneMessageClient(self.name, memory, Done()), (envelope,)

    def _announcement(self, inbox: tuple[Envelope, ...]) -> bytes | None:
        payloads = {envelope.payload for envelope in inbox}
        for envelope in inbox:
            if (envelope.sender, envelope.recipient, envelope.phase) != (SERVER, self.name, UPLOAD):
                raise RefusedError("a message is not the server's request for this client's upload")
        if len(payloads) > 1:
            raise RefusedError("the server sent two different round keys")
        return payloads.pop() if payloads else None


def _upload(state: Waiting, memory: ClientMemory, name: str, announcement: bytes) -> tuple[ClientMemory, bytes]:
    plan, scheme = state.plan, state.scheme
    memory.check_start(plan, name=name, contribution=state.contribution_digest)
    try:
        public = wire.parse_announcement(
            announcement,
            public_bytes=scheme.public_bytes,
            plan_digest=state.plan_digest,
            key_holder=state.key_holder,
        )
    except WireError as error:
        raise RefusedError(
            f"{ANNOUNCE}: {error}; this client pinned another key holder, or the round another plan"
        ) from error
    session = wire.session_id(state.plan_digest, announcement)
    model = plan.manifest.model_digest(name)
    binding = Binding(session=session, name=name, model=model)
    hidden = scheme.hide(state.contribution, public=public, binding=binding, entropy=state.entropy)
    statement = wire.state(hidden, session=session, name=name, model=model, identity=state.identity)
    payload = hidden.body + hidden.capsule
    remembered = memory.with_upload(
        plan, name=name, contribution=state.contribution_digest, payload=digest("upload", session, payload)
    )
    return remembered, payload + statement.signature
