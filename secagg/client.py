"""One client's side of the masked sum, as a state machine without I/O; SPEC.md gives the argument for each check."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from secagg import masked_messages as wire
from secagg import rules
from secagg.client_states import Advertised, Confirmed, Done, Public, Shared, Start, State, Uploaded
from secagg.crypto import (
    KEY_BYTES,
    SIGNATURE_BYTES,
    Agreement,
    commit,
    digest,
    pair_key,
    seal,
    sealing_key,
    unseal,
    verified,
    x25519_public,
)
from secagg.errors import RefusedError, SessionSpentError
from secagg.masked_messages import ADVERTISE, CONFIRM, PHASES, SHARE, UNMASK, UPLOAD
from secagg.masks import PAIR_MASK, SELF_MASK, Masker
from secagg.memory import ClientMemory
from secagg.messages import SERVER, Envelope
from secagg.neighbours import SessionGraph
from secagg.packing import Residues
from secagg.shamir import SHARE_BYTES, split
from secagg.signing import signed_message
from secagg.transitions import CURIOUS, MALICIOUS, Table


@dataclass(slots=True, eq=False)
class MaskedClient:
    """A client session: `step` moves on exactly once, and takes its secrets along or forgets them.

    Guarantee: one upload, one signed survivor set, and for each neighbour one share of one kind, ever; a step that
        raises ends the session.
    Assumes: `memory` of the returned session is stored before its messages are sent.
    """

    name: str
    memory: ClientMemory
    _state: State | None = field(repr=False)

    @property
    def done(self) -> bool:
        """Whether the client has nothing left to say."""
        return isinstance(self._state, Done)

    @property
    def state(self) -> str:
        """The state's name in the transition table."""
        return "Spent" if self._state is None else type(self._state).__name__

    def step(self, inbox: tuple[Envelope, ...]) -> tuple["MaskedClient", tuple[Envelope, ...]]:
        """Answers at most one message of the server; see `ClientSession.step`."""
        state, self._state = self._state, None
        if state is None:
            raise SessionSpentError(f"session of {self.name!r} was already stepped; use the session that step returned")
        if isinstance(state, Done):
            raise SessionSpentError(f"session of {self.name!r} is over; start a new round")
        table = MALICIOUS if _public(state).graph.malicious_server else CURIOUS
        message = self._expected(inbox, state, table)
        if message is None:
            return MaskedClient(self.name, self.memory, state), ()
        phase = table[type(state).__name__, message.phase].answer
        new_state, memory, payload = _ANSWERS[phase](state, self.memory, message.payload)
        envelope = Envelope(sender=self.name, recipient=SERVER, phase=phase, payload=payload)
        return MaskedClient(self.name, memory, new_state), (envelope,)

    def _expected(self, inbox: tuple[Envelope, ...], state: State, table: Table) -> Envelope | None:
        """The one message that this state answers; what was answered before is never answered again."""
        if isinstance(state, Start):
            if inbox:
                raise RefusedError("the server spoke before this client advertised")
            return Envelope(sender=SERVER, recipient=self.name, phase="", payload=b"")
        (expected,) = (phase for name, phase in table if name == type(state).__name__)
        found = None
        for envelope in inbox:
            if envelope.sender != SERVER or envelope.recipient != self.name:
                raise RefusedError("a message is not from the server to this client")
            if envelope.phase not in PHASES or PHASES.index(envelope.phase) > PHASES.index(expected):
                raise RefusedError(f"the server asks for {envelope.phase!r}, this client expects {expected!r}")
            if envelope.phase == expected:
                if found is not None and found.payload != envelope.payload:
                    raise RefusedError(f"the server sent two different {expected!r} messages")
                found = envelope
        return found


Step = tuple[State, ClientMemory, bytes]


def _public(state: State) -> Public:
    assert not isinstance(state, Done)  # noqa: S101
    return state.public


def _advertise(state: Start, memory: ClientMemory, _payload: bytes) -> Step:
    public = state.public
    memory.check_start(public.plan, name=public.signer.name, contribution=public.contribution_digest)
    mask_private, share_private, seed = (public.entropy(KEY_BYTES) for _ in range(3))
    commitment = commit(seed)
    body = x25519_public(mask_private) + x25519_public(share_private) + commitment
    after = Advertised(
        public=public,
        contribution=state.contribution,
        mask_private=mask_private,
        share_private=share_private,
        seed=seed,
        own_body=body,
    )
    return after, memory, public.signer.signed(ADVERTISE, context=public.plan_digest, body=body)


def _share(state: Advertised, memory: ClientMemory, payload: bytes) -> Step:
    public, plan, graph = state.public, state.public.plan, state.public.graph
    signature_bytes = SIGNATURE_BYTES if graph.malicious_server else 0
    roster = wire.Roster.parse(payload, num_clients=len(plan.clients), signature_bytes=signature_bytes)
    session = wire.session_id(public.plan_digest, payload)
    neighbours = SessionGraph(graph, session=session).neighbours(public.position)
    rules.check_roster(
        roster, plan=plan, graph=graph, own_position=public.position, own_body=state.own_body, neighbours=neighbours
    )
    if public.directory is not None and graph.malicious_server:
        signers = rules.who_must_have_signed(roster, plan=plan, graph=graph, neighbours=neighbours)
        rules.check_signatures(
            roster, plan=plan, directory=public.directory, signers=signers, context=public.plan_digest
        )
    seeds, keys = (
        split(secret, points=graph.degree, threshold=graph.threshold, entropy=public.entropy)
        for secret in (state.seed, state.mask_private)
    )
    sealed, opening_keys, own = [], {}, public.signer.name
    agreement = Agreement(state.share_private)
    for index, other in enumerate(neighbours):
        if other not in roster.adverts:
            continue
        name, shared = plan.clients[other], agreement.with_public(roster.adverts[other].share_key)
        sending = sealing_key(shared, session=session, sender=own, recipient=name)
        opening_keys[other] = sealing_key(shared, session=session, sender=name, recipient=own)
        sealed.append(seal(sending, seeds[index] + keys[index], context=session))
    after = Shared(
        public=public,
        contribution=state.contribution,
        mask_private=state.mask_private,
        seed=state.seed,
        session=session,
        roster=roster,
        neighbours=neighbours,
        opening_keys=opening_keys,
    )
    return after, memory, public.signer.signed(SHARE, context=session, body=b"".join(sealed))


def _upload(state: Shared, memory: ClientMemory, payload: bytes) -> Step:
    public, plan, graph, session = state.public, state.public.plan, state.public.graph, state.session
    head = wire.set_bytes(len(plan.clients))
    sharers = wire.parse_set(payload[:head], num_clients=len(plan.clients))
    rules.check_share_set(sharers, roster=state.roster, own_position=public.position)
    rules.check_enough(sharers, plan=plan, graph=graph, neighbours=state.neighbours, doing="shared")
    present = set(sharers)
    near = [other for other in state.neighbours if other in present]
    records = wire.split_records(payload[head:], size=wire.SEALED_BYTES, count=len(near), what="sealed shares")
    shares = {}
    for other, record in zip(near, records, strict=True):
        share = unseal(state.opening_keys[other], record, context=session)
        if share is not None:  # a neighbour that sealed garbage only loses this client's help in its own recovery
            shares[other] = share
    masked = _masked(state, near)
    body = plan.layout.pack(masked)
    remembered = memory.with_upload(
        plan, name=public.signer.name, contribution=public.contribution_digest, payload=digest("upload", session, body)
    )
    after = Uploaded(public=public, session=session, neighbours=state.neighbours, sharers=sharers, shares=shares)
    return after, remembered, public.signer.signed(UPLOAD, context=session, body=body)


def _masked(state: Shared, near: list[int]) -> tuple[Residues, ...]:
    """y = x + PRG(b) + Σ_{j>i} PRG(s_ij) - Σ_{j<i} PRG(s_ij) modulo 2^m, over the neighbours that shared."""
    public, agreement = state.public, Agreement(state.mask_private)
    layout, own, names = public.plan.layout, public.position, public.plan.clients
    masker = Masker(layout, session=state.session)
    masked = tuple(array.copy() for array in state.contribution.residues)
    masker.add(masked, key=state.seed, purpose=SELF_MASK)
    for other in near:
        shared = agreement.with_public(state.roster.adverts[other].mask_key)
        first, second = names[min(own, other)], names[max(own, other)]
        key = pair_key(shared, session=state.session, first=first, second=second)
        add = masker.add if own < other else masker.subtract
        add(masked, key=key, purpose=PAIR_MASK)
    layout.reduce(masked)
    return masked


def _accept_survivors(state: Uploaded, memory: ClientMemory, payload: bytes) -> tuple[tuple[int, ...], ClientMemory]:
    public, plan = state.public, state.public.plan
    survivors = wire.parse_set(payload, num_clients=len(plan.clients))
    rules.check_survivors(survivors, sharers=state.sharers, own_position=public.position, plan=plan)
    rules.check_enough(survivors, plan=plan, graph=public.graph, neighbours=state.neighbours, doing="survived")
    names = tuple(plan.clients[position] for position in survivors)
    rules.check_weights(names, plan=plan, colluders=public.graph.colluders, own=public.signer.name)
    return survivors, memory.with_survivors(plan, names)


def _confirm(state: Uploaded, memory: ClientMemory, payload: bytes) -> Step:
    survivors, remembered = _accept_survivors(state, memory, payload)
    after = Confirmed(
        public=state.public,
        session=state.session,
        neighbours=state.neighbours,
        sharers=state.sharers,
        survivors=survivors,
        shares=state.shares,
    )
    body = wire.confirmed_sets(state.sharers, survivors, num_clients=len(state.public.plan.clients))
    return after, remembered, state.public.signer.signed(CONFIRM, context=state.session, body=body)


def _unmask(state: Uploaded | Confirmed, memory: ClientMemory, payload: bytes) -> Step:
    if isinstance(state, Uploaded):
        survivors, memory = _accept_survivors(state, memory, payload)
    else:
        survivors = state.survivors
        _check_confirmations(state, payload)
    alive, present, answer = set(survivors), set(state.sharers), []
    for other in state.neighbours:
        if other not in present:
            continue
        share = state.shares.get(other)
        if share is None:
            answer.append((wire.MISSING, b""))
        elif other in alive:
            answer.append((wire.SEED_SHARE, share[:SHARE_BYTES]))
        else:
            answer.append((wire.KEY_SHARE, share[SHARE_BYTES:]))
    body = wire.pack_shares(answer)
    return Done(), memory, state.public.signer.signed(UNMASK, context=state.session, body=body)


def _check_confirmations(state: Confirmed, payload: bytes) -> None:
    """At least t of our own surviving neighbours signed the sets that we signed; with 2t > degree + corrupt, no two
    different sets can both get there."""
    public, plan = state.public, state.public.plan
    signatures = wire.parse_signatures(payload, num_clients=len(plan.clients))
    body = wire.confirmed_sets(state.sharers, state.survivors, num_clients=len(plan.clients))
    allowed, valid = set(state.neighbours) & set(state.survivors), 0
    assert public.directory is not None  # noqa: S101
    for position, signature in signatures.items():
        if position not in allowed:
            raise RefusedError("a confirmation is not from a surviving neighbour")
        if valid == public.graph.threshold:
            continue  # enough have signed; the rest cannot change the answer
        name = plan.clients[position]
        message = signed_message(CONFIRM, context=state.session, name=name, body=body)
        if not verified(public.directory.members[name], signature, message):
            raise RefusedError(f"{name!r} confirmed another survivor set, or its signature is forged")
        valid += 1
    if valid < public.graph.threshold:
        raise RefusedError(f"only {valid} neighbours confirmed the survivor set, threshold = {public.graph.threshold}")


_ANSWERS: Final[dict[str, Callable[..., Step]]] = {
    ADVERTISE: _advertise,
    SHARE: _share,
    UPLOAD: _upload,
    CONFIRM: _confirm,
    UNMASK: _unmask,
}
