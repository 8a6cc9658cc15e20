"""The key holder of a sum in one message, as a state machine without I/O: it announces a fresh key, opens one sum."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from secagg import one_message_wire as wire
from secagg.crypto import Entropy
from secagg.errors import RefusedError, SessionSpentError, WireError
from secagg.holder_memory import HolderMemory
from secagg.identity import Identity, KeyDirectory
from secagg.messages import KEY_HOLDER, SERVER, Envelope
from secagg.one_message_wire import OPEN, Statement
from secagg.plan import SumPlan
from secagg.scheme import Binding, Scheme
from secagg.transitions import THIRD_PARTY


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Start:
    """Before the announcement; everything in it but the identity is public."""

    plan: SumPlan
    plan_digest: bytes
    scheme: Scheme
    identity: Identity = field(repr=False)
    directory: KeyDirectory
    entropy: Entropy = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Announced:
    """The key is out; its secret lies in the memory, until the one request."""

    start: Start


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Done:
    """Has answered; the key is gone."""


@dataclass(slots=True, eq=False)
class KeyHolder:
    """The third party's session.

    Guarantee: a fresh key a plan; it opens one sum, over at least min_cohort clients that each signed this session, one
        model and what they sent, and gives away integers modulo 2^m only. A step that raises ends the session; a key
        that was used is gone, whatever came out.
    Assumes: `memory` of the returned session is stored before its message is sent.
    Does not cover: under CKKS and BFV, that the ciphertext is the sum of what the clients signed; see SPEC.md.
    """

    memory: HolderMemory
    _state: Start | Announced | Done | None = field(repr=False)

    @property
    def done(self) -> bool:
        """Whether the key holder has nothing left to say."""
        return isinstance(self._state, Done)

    @property
    def state(self) -> str:
        """The state's name in the transition table."""
        return "Spent" if self._state is None else type(self._state).__name__

    def step(self, inbox: tuple[Envelope, ...]) -> tuple["KeyHolder", tuple[Envelope, ...]]:
        """Announces in the first step, answers one request later; see `HolderSession.step`."""
        state, self._state = self._state, None
        if state is None or isinstance(state, Done):
            raise SessionSpentError("the key holder's session was already stepped or is over; start a new round")
        if isinstance(state, Start):
            if inbox:
                raise RefusedError("the server spoke before a key was announced")
            memory, payload = _announce(state, self.memory)
            return KeyHolder(memory, Announced(start=state)), (_envelope(state, "", payload),)
        request = _request(inbox)
        if request is None:
            return KeyHolder(self.memory, state), ()
        memory, payload = _open(state.start, self.memory, request)
        return KeyHolder(memory, Done()), (_envelope(state, OPEN, payload),)


def _envelope(state: Start | Announced, asked: str, payload: bytes) -> Envelope:
    phase = THIRD_PARTY[type(state).__name__, asked].answer
    return Envelope(sender=KEY_HOLDER, recipient=SERVER, phase=phase, payload=payload)


def _request(inbox: tuple[Envelope, ...]) -> bytes | None:
    for envelope in inbox:
        if (envelope.sender, envelope.recipient, envelope.phase) != (SERVER, KEY_HOLDER, OPEN):
            raise RefusedError("a message is not the server's request for this round's sum")
    payloads = {envelope.payload for envelope in inbox}
    if len(payloads) > 1:
        raise RefusedError("the server asks for two different sums")
    return payloads.pop() if payloads else None


def _announce(state: Start, memory: HolderMemory) -> tuple[HolderMemory, bytes]:
    secret = state.scheme.draw(state.entropy)
    public = state.scheme.public(secret, entropy=state.entropy)
    payload = wire.announce(public, plan_digest=state.plan_digest, identity=state.identity)
    session = wire.session_id(state.plan_digest, payload)
    return memory.with_open(state.plan_digest, session=session, secret=secret), payload


def _open(start: Start, memory: HolderMemory, request: bytes) -> tuple[HolderMemory, bytes]:
    plan, scheme, known = start.plan, start.scheme, memory.waiting(start.plan_digest)
    try:
        statements, collected = wire.parse_request(request, num_clients=len(plan.clients))
        if len(collected) != scheme.collected_bytes(len(statements)):
            raise WireError(f"{len(collected)} bytes to open, {scheme.collected_bytes(len(statements))} expected")  # noqa: TRY301
        _check_survivors(plan, tuple(statements))
        memory.with_answer(plan, plan_digest=start.plan_digest, survivors=_names(plan, statements))
        capsules = scheme.capsules(collected, count=len(statements))
        senders = _check_statements(start, statements, capsules, session=known.session)
        opened = scheme.open(known.secret, collected, senders=senders)
    except WireError as error:
        raise RefusedError(f"the request is malformed: {error}") from error
    asked, residues = tuple(statements), opened.residues
    positions = tuple(asked[index] for index in opened.senders)
    try:
        _check_survivors(plan, positions)
        remembered = memory.with_answer(plan, plan_digest=start.plan_digest, survivors=_names(plan, positions))
    except RefusedError:  # the key was used, so it is gone; an empty answer says so
        positions, residues, remembered = (), plan.layout.zeros(), memory.without(start.plan_digest)
    payload = wire.pack_answer(
        positions,
        residues,
        layout=plan.layout,
        num_clients=len(plan.clients),
        request=request,
        session=known.session,
        identity=start.identity,
    )
    return remembered, payload


def _names(plan: SumPlan, positions: Iterable[int]) -> tuple[str, ...]:
    return tuple(plan.clients[position] for position in positions)


def _check_survivors(plan: SumPlan, positions: tuple[int, ...]) -> None:
    if len(positions) < plan.min_cohort:
        raise RefusedError(f"a sum of {len(positions)} clients would expose them, min_cohort = {plan.min_cohort}")
    if plan.manifest.fewest_fillers(_names(plan, positions), dim=plan.dim) < plan.min_cohort:
        raise RefusedError(f"the survivors fill a coordinate fewer than min_cohort = {plan.min_cohort} times")


def _check_statements(
    start: Start, statements: dict[int, Statement], capsules: tuple[bytes, ...], *, session: bytes
) -> list[Binding]:
    """Every survivor signed this session, the plan's model and its own capsule."""
    senders = []
    for (position, statement), capsule in zip(statements.items(), capsules, strict=True):
        name = start.plan.clients[position]
        if statement.model != start.plan.manifest.model_digest(name):
            raise RefusedError(f"{name!r} holds another model than the plan; a sum over unequal models is not opened")
        if not statement.holds(session=session, name=name, capsule=capsule, public=start.directory.members[name]):
            raise RefusedError(f"{name!r} did not sign this upload for this session, model and plan")
        senders.append(Binding(session=session, name=name, model=statement.model))
    return senders
