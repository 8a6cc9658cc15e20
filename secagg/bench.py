"""What a masked round costs: all parties in one process, each timed on its own, over the same sessions and messages.

This is the only module here that looks at a clock.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from secagg.codec import FixedPoint
from secagg.crypto import seeded_entropy
from secagg.drive import drive
from secagg.errors import PlanError
from secagg.graph import plan_graph
from secagg.masked import MaskedSum
from secagg.memory import ClientMemory
from secagg.messages import SERVER, Envelope
from secagg.session import Aggregate, ClientSession, Member, ServerSession
from secagg.simulate import Cohort

ENCODE = "encode"
ASSUMED_FRACTION = 0.1

Seconds = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class SecureSumCost:
    """One measured round.

    Args: seconds: all parties together. client_seconds: a surviving client's mean, by phase. server_seconds: by phase.
        upload_bytes, download_bytes: of one surviving client over the round, on the wire. max_error: of the mean, from
        the exact mean of the survivors' vectors (uniform in ±clip, clip = 1).
    """

    clients: int
    dim: int
    dropped: int
    server: str
    bits: int
    degree: int
    threshold: int
    seconds: float
    client_seconds: Seconds
    client_seconds_total: float
    server_seconds: Seconds
    server_seconds_total: float
    upload_bytes: int
    download_bytes: int
    max_error: float


@dataclass(slots=True)
class _Stopwatch:
    """Seconds by party and phase."""

    clock: Callable[[], float]
    seconds: dict[str, Seconds] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))

    def timed_client(self, session: ClientSession) -> "_TimedClient":
        return _TimedClient(session, self)

    def timed_server(self, session: ServerSession) -> "_TimedServer":
        return _TimedServer(session, self)

    def add(self, party: str, phase: str, start: float) -> None:
        self.seconds[party][phase] += self.clock() - start


@dataclass(slots=True)
class _TimedClient:
    session: ClientSession
    watch: _Stopwatch

    @property
    def name(self) -> str:
        return self.session.name

    @property
    def done(self) -> bool:
        return self.session.done

    @property
    def memory(self) -> ClientMemory:
        return self.session.memory

    def step(self, inbox: tuple[Envelope, ...]) -> tuple["_TimedClient", tuple[Envelope, ...]]:
        start = self.watch.clock()
        self.session, sent = self.session.step(inbox)
        if sent:
            self.watch.add(self.name, sent[0].phase, start)
        return self, sent


@dataclass(slots=True)
class _TimedServer:
    session: ServerSession
    watch: _Stopwatch

    @property
    def result(self) -> Aggregate | None:
        return self.session.result

    @property
    def rejected(self) -> tuple[str, ...]:
        return self.session.rejected

    def step(self, inbox: tuple[Envelope, ...]) -> tuple["_TimedServer", tuple[Envelope, ...]]:
        start = self.watch.clock()
        self.session, sent = self.session.step(inbox)
        self.watch.add(SERVER, inbox[0].phase, start)
        return self, sent


@dataclass(slots=True)
class _Meter:
    """An `exchange` that counts one client's bytes and keeps nothing; `gone` vanish before they upload."""

    watched: str
    gone: frozenset[str]
    upload_bytes: int = 0
    download_bytes: int = 0
    uploading: bool = False

    def __call__(self, envelopes: tuple[Envelope, ...]) -> tuple[Envelope, ...]:
        self.uploading |= any(envelope.phase == "upload" and envelope.sender != SERVER for envelope in envelopes)
        delivered = []
        for envelope in envelopes:
            if self.uploading and (envelope.sender in self.gone or envelope.recipient in self.gone):
                continue
            self.upload_bytes += envelope.num_bytes * (envelope.sender == self.watched)
            self.download_bytes += envelope.num_bytes * (envelope.recipient == self.watched)
            delivered.append(envelope)
        return tuple(delivered)


def measure(
    *,
    clients: int,
    dim: int,
    dropout: float,
    server: str,
    bits: int,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> SecureSumCost:
    """Runs and times one round of `MaskedSum`.

    Args: dropout: fraction of the clients that vanish before uploading. server: "curious" or "malicious".
    Raises: PlanError, RoundFailedError.
    """
    if server not in ("curious", "malicious"):
        raise PlanError(f'server = {server!r} must be "curious" or "malicious"')
    if not 0 <= dropout < 1 or dim < 1:
        raise PlanError(f"dropout = {dropout} must be in [0, 1) and dim = {dim} at least 1")
    protocol = MaskedSum(
        codec=FixedPoint(clip=1.0, bits=bits),
        malicious_server=server == "malicious",
        adversarial_fraction=ASSUMED_FRACTION,
        dropout_fraction=max(ASSUMED_FRACTION, dropout),
    )
    rng, watch = np.random.default_rng(seed), _Stopwatch(clock)
    names = tuple(f"client-{i:06}" for i in range(clients))
    gone = frozenset(rng.choice(names, size=math.floor(dropout * clients + 1e-9), replace=False).tolist())
    watched = next(name for name in names if name not in gone)
    cohort = Cohort.generate(names, seeded_entropy(seed.to_bytes(8, "big")))
    graph = plan_graph(
        clients,
        adversarial_fraction=protocol.adversarial_fraction,
        dropout_fraction=protocol.dropout_fraction,
        malicious_server=protocol.malicious_server,
    )
    plan = protocol.plan(clients=names, dim=dim, directory=cohort.directory if protocol.malicious_server else None)
    exact: NDArray[np.float64] = np.zeros(dim)
    sessions = {}
    for name in names:
        vector = rng.uniform(-1.0, 1.0, dim)
        if name not in gone:
            exact += vector
        member = Member(name=name, identity=cohort.identities[name], directory=cohort.directory)
        start = clock()
        contribution = plan.encode(name, vector, rng=np.random.default_rng(seed))
        sessions[name] = watch.timed_client(protocol.client(plan, member=member, contribution=contribution))
        watch.add(name, ENCODE, start)
    meter = _Meter(watched=watched, gone=gone)
    result = drive(watch.timed_server(protocol.server(plan, directory=cohort.directory)), sessions, meter)
    survivors = [watch.seconds[name] for name in names if name not in gone]
    means = {phase: sum(each[phase] for each in survivors) / len(survivors) for phase in survivors[0]}
    return SecureSumCost(
        clients=clients,
        dim=dim,
        dropped=len(gone),
        server=server,
        bits=bits,
        degree=graph.degree,
        threshold=graph.threshold,
        seconds=sum(sum(each.values()) for each in watch.seconds.values()),
        client_seconds=means,
        client_seconds_total=sum(means.values()),
        server_seconds=dict(watch.seconds[SERVER]),
        server_seconds_total=sum(watch.seconds[SERVER].values()),
        upload_bytes=meter.upload_bytes,
        download_bytes=meter.download_bytes,
        max_error=float(np.abs(result.mean - exact / len(result.survivors)).max()),
    )
