"""The server of a sum in one message: it relays the round's key, gathers uploads, and asks the key holder once."""

from dataclasses import dataclass, field, replace

from secagg import one_message_wire as wire
from secagg.errors import RoundFailedError, SessionSpentError, WireError
from secagg.identity import KeyDirectory
from secagg.messages import KEY_HOLDER, SERVER, Envelope
from secagg.one_message_wire import ANNOUNCE, OPEN, UPLOAD, Statement
from secagg.packing import Residues
from secagg.plan import SumPlan
from secagg.scheme import Hidden, Opened, Scheme
from secagg.session import Aggregate, decode_sum

MAX_COPIES = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gathered:
    """The phase that is open, and what the closed ones left behind; nothing in it is secret to the server."""

    phase: str = ANNOUNCE
    session: bytes = b""
    uploads: dict[int, Hidden] = field(default_factory=dict, repr=False)
    request: bytes = field(default=b"", repr=False)
    rejected: tuple[str, ...] = ()
    result: Aggregate | None = None


@dataclass(slots=True, eq=False)
class OneMessageServer:
    """A server session: each `step` closes one phase with whatever has arrived."""

    plan: SumPlan
    plan_digest: bytes
    scheme: Scheme
    directory: KeyDirectory
    _gathered: Gathered | None = field(default_factory=Gathered, repr=False)

    @property
    def result(self) -> Aggregate | None:
        """The sum, once the round is over."""
        return None if self._gathered is None else self._gathered.result

    @property
    def rejected(self) -> tuple[str, ...]:
        """Why messages were not accepted."""
        return () if self._gathered is None else self._gathered.rejected

    def step(self, inbox: tuple[Envelope, ...]) -> tuple["OneMessageServer", tuple[Envelope, ...]]:
        """Closes the current phase; see `ServerSession.step`."""
        gathered, self._gathered = self._gathered, None
        if gathered is None or gathered.result is not None:
            raise SessionSpentError("this server session was already stepped or is over; start a new round")
        expected = self.plan.clients if gathered.phase == UPLOAD else (KEY_HOLDER,)
        payloads: dict[str, list[bytes]] = {}
        rejected = []
        for envelope in inbox:
            if envelope.phase != gathered.phase or envelope.sender not in expected:
                rejected.append(f"{envelope.phase}: {envelope.sender}: late, early or from a stranger")
            elif envelope.payload not in payloads.setdefault(envelope.sender, []):
                payloads[envelope.sender].append(envelope.payload)
        gathered = replace(gathered, rejected=gathered.rejected + tuple(rejected))
        close = {ANNOUNCE: self._close_announce, UPLOAD: self._close_upload, OPEN: self._close_open}[gathered.phase]
        gathered, outbox = close(gathered, {name: sent[:MAX_COPIES] for name, sent in sorted(payloads.items())})
        return OneMessageServer(self.plan, self.plan_digest, self.scheme, self.directory, gathered), outbox

    def _close_announce(
        self, gathered: Gathered, payloads: dict[str, list[bytes]]
    ) -> tuple[Gathered, tuple[Envelope, ...]]:
        for payload in payloads.get(KEY_HOLDER, ()):
            try:
                wire.parse_announcement(
                    payload,
                    public_bytes=self.scheme.public_bytes,
                    plan_digest=self.plan_digest,
                    key_holder=self.directory.key_holder,
                )
            except WireError as error:
                gathered = _noted(gathered, f"{ANNOUNCE}: {error}")
                continue
            session = wire.session_id(self.plan_digest, payload)
            requests = tuple(
                Envelope(sender=SERVER, recipient=name, phase=UPLOAD, payload=payload) for name in self.plan.clients
            )
            return replace(gathered, phase=UPLOAD, session=session), requests
        raise RoundFailedError(f"the key holder announced no key for this round{_why(gathered)}; start another attempt")

    def _close_upload(
        self, gathered: Gathered, payloads: dict[str, list[bytes]]
    ) -> tuple[Gathered, tuple[Envelope, ...]]:
        uploads: dict[int, Hidden] = {}
        statements: dict[int, Statement] = {}
        for name, sent in payloads.items():
            try:
                hidden, statement = self._accept(name, sent, gathered.session)
            except WireError as error:
                gathered = _noted(gathered, f"{UPLOAD}: {name}: {error}")
                continue
            uploads[self.plan.position(name)], statements[self.plan.position(name)] = hidden, statement
        self._need(len(uploads), "uploaded", gathered)
        collected = self.scheme.collect([uploads[position] for position in sorted(uploads)])
        request = wire.pack_request(statements, collected, num_clients=len(self.plan.clients))
        after = replace(gathered, phase=OPEN, uploads=uploads, request=request)
        return after, (Envelope(sender=SERVER, recipient=KEY_HOLDER, phase=OPEN, payload=request),)

    def _accept(self, name: str, sent: list[bytes], session: bytes) -> tuple[Hidden, Statement]:
        """The one upload that the client signed; forged copies beside it do no harm, a second signed one does."""
        accepted, error = [], WireError("sent nothing")
        model = self.plan.manifest.model_digest(name)
        for payload in sent:
            try:
                hidden, statement = wire.parse_upload(
                    payload, body_bytes=self.scheme.body_bytes, capsule_bytes=self.scheme.capsule_bytes, model=model
                )
                public = self.directory.members[name]
                if not statement.holds(session=session, name=name, capsule=hidden.capsule, public=public):
                    raise WireError("is not signed by its identity for this session, model and plan")  # noqa: TRY301
                self.scheme.check(hidden.body)
            except WireError as caught:
                error = caught
                continue
            accepted.append((hidden, statement))
        if len(accepted) > 1:
            raise WireError("sent two different messages")
        if not accepted:
            raise error
        return accepted[0]

    def _close_open(
        self, gathered: Gathered, payloads: dict[str, list[bytes]]
    ) -> tuple[Gathered, tuple[Envelope, ...]]:
        for payload in payloads.get(KEY_HOLDER, ()):
            try:
                positions, residues = wire.parse_answer(
                    payload,
                    layout=self.plan.layout,
                    num_clients=len(self.plan.clients),
                    request=gathered.request,
                    session=gathered.session,
                    key_holder=self.directory.key_holder,
                )
            except WireError as error:
                gathered = _noted(gathered, f"{OPEN}: {error}")
                continue
            if not gathered.uploads.keys() >= set(positions):
                gathered = _noted(gathered, f"{OPEN}: the answer counts clients that were not asked about")
                continue
            return self._finished(gathered, positions, residues), ()
        raise RoundFailedError(f"the key holder opened nothing{_why(gathered)}; start another attempt")

    def _finished(self, gathered: Gathered, positions: tuple[int, ...], residues: tuple[Residues, ...]) -> Gathered:
        asked = sorted(gathered.uploads)
        unusable = [position for position in asked if position not in positions]
        gathered = _noted(
            gathered, *(f"{OPEN}: {self.plan.clients[p]}: its sealed seed cannot be opened" for p in unusable)
        )
        self._need(len(positions), "were opened", gathered)
        opened = Opened(senders=tuple(asked.index(position) for position in positions), residues=residues)
        total = self.scheme.finish([gathered.uploads[position] for position in asked], opened)
        names = tuple(self.plan.clients[position] for position in positions)
        return replace(gathered, phase="", uploads={}, result=decode_sum(self.plan, total, names))

    def _need(self, present: int, did: str, gathered: Gathered) -> None:
        if present < self.plan.min_cohort:
            raise RoundFailedError(
                f"only {present} clients {did}, min_cohort = {self.plan.min_cohort}; "
                f"start another attempt{_why(gathered)}"
            )


def _noted(gathered: Gathered, *lines: str) -> Gathered:
    return replace(gathered, rejected=gathered.rejected + lines)


def _why(gathered: Gathered) -> str:
    return f" ({gathered.rejected[0]})" if gathered.rejected else ""
