"""The server's side of the masked sum: it relays, adds up, and removes masks with the shares of the survivors."""

from dataclasses import dataclass, field, replace

import numpy as np

from secagg import masked_messages as wire
from secagg.crypto import SIGNATURE_BYTES, low_order
from secagg.errors import PlanError, RoundFailedError, SessionSpentError, WireError
from secagg.graph import GraphPlan
from secagg.identity import KeyDirectory
from secagg.masked_messages import ADVERTISE, CONFIRM, SHARE, UNMASK, UPLOAD, Advert, Roster, confirmed_sets
from secagg.messages import SERVER, Envelope
from secagg.neighbours import SessionGraph
from secagg.plan import SumPlan
from secagg.recovery import remove_masks
from secagg.server_states import Progress
from secagg.session import Aggregate, decode_sum
from secagg.signing import opened

MAX_COPIES = 4


@dataclass(slots=True, eq=False)
class MaskedServer:
    """A server session: each `step` closes one phase with whatever has arrived."""

    plan: SumPlan
    plan_digest: bytes
    directory: KeyDirectory | None
    _progress: Progress | None = field(default_factory=Progress, repr=False)

    @property
    def result(self) -> Aggregate | None:
        """The sum, once the round is over."""
        return None if self._progress is None else self._progress.result

    @property
    def rejected(self) -> tuple[str, ...]:
        """Why messages were not accepted."""
        return () if self._progress is None else self._progress.rejected

    def step(self, inbox: tuple[Envelope, ...]) -> tuple["MaskedServer", tuple[Envelope, ...]]:
        """Closes the current phase; see `ServerSession.step`."""
        progress, self._progress = self._progress, None
        if progress is None or progress.result is not None:
            raise SessionSpentError("this server session was already stepped or is over; start a new round")
        bodies, rejected = self._bodies(inbox, progress)
        progress = replace(progress, rejected=progress.rejected + rejected)
        close = {
            ADVERTISE: self._close_advertise,
            SHARE: self._close_share,
            UPLOAD: self._close_upload,
            CONFIRM: self._close_confirm,
            UNMASK: self._close_unmask,
        }[progress.phase]
        progress, payloads = close(progress, bodies)
        outbox = tuple(
            Envelope(sender=SERVER, recipient=self.plan.clients[position], phase=progress.phase, payload=payload)
            for position, payload in payloads.items()
        )
        return MaskedServer(self.plan, self.plan_digest, self.directory, progress), outbox

    @property
    def _graph(self) -> GraphPlan:
        if self.plan.graph is None:
            raise PlanError("a masked sum needs a graph plan; use plan_graph")
        return self.plan.graph

    def _bodies(self, inbox: tuple[Envelope, ...], progress: Progress) -> tuple[dict[int, bytes], tuple[str, ...]]:
        """The verified bodies of this phase by position; late, foreign, forged or double ones count for nothing."""
        payloads: dict[str, list[bytes]] = {}
        rejected = []
        for envelope in inbox:
            if envelope.phase != progress.phase or envelope.sender not in self.plan.clients:
                rejected.append(f"{envelope.phase!r}: {envelope.sender!r}: late, early or from a stranger")
                continue
            copies = payloads.setdefault(envelope.sender, [])
            if len(copies) < MAX_COPIES and envelope.payload not in copies:
                copies.append(envelope.payload)
        bodies = {}
        for name in sorted(payloads):
            try:
                bodies[self.plan.position(name)] = self._opened(name, payloads[name], progress)
            except WireError as error:
                rejected.append(f"{progress.phase}: {name}: {error}")
        return bodies, tuple(rejected)

    def _opened(self, name: str, payloads: list[bytes], progress: Progress) -> bytes:
        """The one body that the client signed; forged copies beside it do no harm, a second signed one does."""
        context, public = progress.session or self.plan_digest, None
        if self._graph.malicious_server and self.directory is not None:
            public = self.directory.members[name]
        bodies, error = [], WireError("sent nothing")
        for payload in payloads:
            try:
                body = opened(progress.phase, context=context, name=name, public=public, payload=payload)
            except WireError as caught:
                error = caught
                continue
            bodies.append(payload if progress.phase in (ADVERTISE, CONFIRM) else body)  # these signatures are relayed
        if len(bodies) > 1:
            raise WireError("sent two different messages")
        if not bodies:
            raise error
        return bodies[0]

    def _close_advertise(self, progress: Progress, bodies: dict[int, bytes]) -> tuple[Progress, dict[int, bytes]]:
        signature_bytes = SIGNATURE_BYTES if self._graph.malicious_server else 0
        adverts: dict[int, Advert] = {}
        seen: set[bytes] = set()
        rejected = []
        for position, body in bodies.items():
            try:
                advert = Advert.parse(body, signature_bytes=signature_bytes)
            except WireError as error:
                rejected.append(f"advertise: {self.plan.clients[position]}: {error}")
                continue
            keys = {advert.mask_key, advert.share_key}
            if len(keys) < 2 or keys & seen or any(low_order(key) for key in keys):
                rejected.append(f"advertise: {self.plan.clients[position]}: a key is repeated or invalid")
                continue
            seen |= keys
            adverts[position] = advert
        self._need(len(adverts), "advertised", progress)
        payload = Roster(adverts=adverts).to_bytes(num_clients=len(self.plan.clients))
        session = wire.session_id(self.plan_digest, payload)
        graph = SessionGraph(self._graph, session=session)
        after = replace(
            progress,
            phase=SHARE,
            roster=Roster(adverts=adverts),
            session=session,
            neighbours={position: graph.neighbours(position) for position in adverts},
            rejected=progress.rejected + tuple(rejected),
        )
        return after, dict.fromkeys(adverts, payload)

    def _close_share(self, progress: Progress, bodies: dict[int, bytes]) -> tuple[Progress, dict[int, bytes]]:
        sealed: dict[int, dict[int, bytes]] = {}
        rejected = []
        for position, body in bodies.items():
            near = [other for other in progress.neighbours.get(position, ()) if other in progress.roster.adverts]
            try:
                records = wire.split_records(body, size=wire.SEALED_BYTES, count=len(near), what="sealed shares")
                sealed[position] = dict(zip(near, records, strict=True))
            except WireError as error:
                rejected.append(f"share: {self.plan.clients[position]}: {error}")
        self._need(len(sealed), "shared", progress)
        sharers = wire.pack_set(tuple(sealed), num_clients=len(self.plan.clients))
        payloads = {
            position: sharers
            + b"".join(sealed[other][position] for other in progress.neighbours[position] if other in sealed)
            for position in sealed
        }
        after = replace(progress, phase=UPLOAD, sharers=tuple(sealed), rejected=progress.rejected + tuple(rejected))
        return after, payloads

    def _close_upload(self, progress: Progress, bodies: dict[int, bytes]) -> tuple[Progress, dict[int, bytes]]:
        layout = self.plan.layout
        total, survivors, rejected = layout.zeros(), [], []
        for position, body in bodies.items():
            try:
                self._expect(position, progress.sharers)
                arrays = layout.unpack(body)
            except WireError as error:
                rejected.append(f"upload: {self.plan.clients[position]}: {error}")
                continue
            for sum_array, array in zip(total, arrays, strict=True):
                np.add(sum_array, array, out=sum_array)
            survivors.append(position)
        self._need(len(survivors), "uploaded", progress)
        after = replace(
            progress,
            phase=CONFIRM if self._graph.malicious_server else UNMASK,
            total=total,
            survivors=tuple(survivors),
            rejected=progress.rejected + tuple(rejected),
        )
        return after, dict.fromkeys(survivors, wire.pack_set(survivors, num_clients=len(self.plan.clients)))

    def _close_confirm(self, progress: Progress, bodies: dict[int, bytes]) -> tuple[Progress, dict[int, bytes]]:
        expected = confirmed_sets(progress.sharers, progress.survivors, num_clients=len(self.plan.clients))
        signatures, rejected = {}, []
        for position, body in bodies.items():
            if position in progress.survivors and body[:-SIGNATURE_BYTES] == expected:
                signatures[position] = body[-SIGNATURE_BYTES:]
            else:
                rejected.append(f"confirm: {self.plan.clients[position]}: signed other sets")
        progress = replace(progress, rejected=progress.rejected + tuple(rejected))
        self._need(len(signatures), "confirmed", progress)
        payloads = {}
        for position in progress.survivors:
            near = {other: signatures[other] for other in progress.neighbours[position] if other in signatures}
            payloads[position] = wire.pack_signatures(near, num_clients=len(self.plan.clients))
        return replace(progress, phase=UNMASK), payloads

    def _close_unmask(self, progress: Progress, bodies: dict[int, bytes]) -> tuple[Progress, dict[int, bytes]]:
        shares: dict[int, dict[int, bytes]] = {}
        rejected = []
        sharers, survivors = set(progress.sharers), set(progress.survivors)
        points = {
            owner: {holder: point for point, holder in enumerate(progress.neighbours[owner], start=1)}
            for owner in progress.sharers
        }
        for position, body in bodies.items():
            try:
                self._expect(position, progress.survivors)
                near = [other for other in progress.neighbours[position] if other in sharers]
                answers = wire.parse_shares(body, count=len(near))
            except WireError as error:
                rejected.append(f"unmask: {self.plan.clients[position]}: {error}")
                continue
            for owner, (kind, share) in zip(near, answers, strict=True):
                if kind == (wire.SEED_SHARE if owner in survivors else wire.KEY_SHARE):
                    shares.setdefault(owner, {})[points[owner][position]] = share
        progress = replace(progress, rejected=progress.rejected + tuple(rejected))
        total = remove_masks(progress, plan=self.plan, graph=self._graph, shares=shares)
        names = tuple(self.plan.clients[position] for position in progress.survivors)
        return replace(progress, phase="", total=(), result=decode_sum(self.plan, total, names)), {}

    def _expect(self, position: int, allowed: tuple[int, ...]) -> None:
        if position not in allowed:
            raise WireError("had already dropped out")

    def _need(self, present: int, did: str, progress: Progress) -> None:
        """Fails early: what cannot reach the threshold or the minimum cohort is not worth another message."""
        needed = max(self.plan.min_cohort, self._graph.threshold)
        if present < needed:
            why = f" ({progress.rejected[0]})" if progress.rejected else ""
            raise RoundFailedError(f"only {present} clients {did}, {needed} needed; start another attempt{why}")
