"""A masked round that a test can stop at any message: the test plays the server, or any client."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

import secagg
from secagg.masked_messages import PHASES

NAMES = tuple(f"client-{i}" for i in range(8))


@dataclass
class Round:
    """The sessions of one round, and what the server last asked of whom."""

    plan: secagg.SumPlan
    cohort: secagg.Cohort
    vectors: dict[str, np.ndarray]
    clients: dict[str, secagg.ClientSession]
    server: secagg.ServerSession
    transcript: secagg.Transcript = field(default_factory=secagg.Transcript)

    def answers(self, requests: tuple[secagg.Envelope, ...]) -> tuple[secagg.Envelope, ...]:
        """Steps each client that is asked (all of them at the start) and collects what they send."""
        sent = []
        for name in self.clients:
            inbox = tuple(e for e in requests if e.recipient == name)
            if inbox or not requests:
                self.clients[name], out = self.clients[name].step(inbox)
                sent.extend(out)
        self.transcript = self.transcript.extended((*requests, *sent))
        return tuple(sent)

    def requests(self, phase: str) -> tuple[secagg.Envelope, ...]:
        """Runs the round honestly up to the server's request for `phase`, and returns the request."""
        out: tuple[secagg.Envelope, ...] = ()
        while True:
            self.server, out = self.server.step(self.answers(out))
            if out and out[0].phase == phase:
                return out

    def finish(self, requests: tuple[secagg.Envelope, ...]) -> secagg.Aggregate:
        """Runs on from `requests` to the result."""
        while self.server.result is None:
            self.server, requests = self.server.step(self.answers(requests))
        return self.server.result

    def session(self) -> bytes:
        """The session id, recomputed from the transcript as a client does."""
        roster = self.transcript.between(sender=secagg.SERVER, phase="share")[0].payload
        return secagg.masked_messages.session_id(self.plan.digest(), roster)


def make_round(
    names=NAMES,
    *,
    dim: int = 12,
    malicious: bool = True,
    seed: int = 0,
    members: Callable[[secagg.Member], secagg.Member] = lambda member: member,
    protocol: secagg.MaskedSum | None = None,
    codec: secagg.FixedPoint | None = None,
    **plan,
) -> Round:
    codec = codec or secagg.FixedPoint(clip=1.0, bits=16)
    entropy = secagg.seeded_entropy(b"round" + seed.to_bytes(8, "big"))
    cohort = secagg.Cohort.generate(names, secagg.seeded_entropy(b"identities"))
    protocol = protocol or secagg.MaskedSum(codec=codec, malicious_server=malicious)
    plan = protocol.plan(clients=names, dim=dim, directory=cohort.directory if malicious else None, **plan)
    rng = np.random.default_rng(seed)
    vectors, clients = {}, {}
    for name in plan.clients:
        vectors[name] = rng.uniform(-1, 1, dim)
        member = secagg.Member(
            name=name,
            identity=cohort.identities[name],
            directory=cohort.directory if malicious else None,
            received=plan.manifest.sent_to(name),
        )
        contribution = plan.encode(name, vectors[name], rng=rng)
        clients[name] = protocol.client(plan, member=members(member), contribution=contribution, entropy=entropy)
    server = protocol.server(plan, directory=cohort.directory)
    return Round(plan=plan, cohort=cohort, vectors=vectors, clients=clients, server=server)


def for_client(requests: tuple[secagg.Envelope, ...], name: str, payload: bytes | None = None) -> secagg.Envelope:
    """The request to one client, perhaps with another payload."""
    (envelope,) = (e for e in requests if e.recipient == name)
    return envelope if payload is None else replace(envelope, payload=payload)


def swapped(envelopes: tuple[secagg.Envelope, ...], new: secagg.Envelope) -> tuple[secagg.Envelope, ...]:
    """`envelopes` with the one of the same sender and recipient replaced by `new`."""
    return tuple(new if (e.sender, e.recipient) == (new.sender, new.recipient) else e for e in envelopes)


def close(aggregate: secagg.Aggregate, vectors: dict[str, np.ndarray]) -> bool:
    """Whether the mean is that of the survivors, up to rounding."""
    exact = np.mean([vectors[name] for name in aggregate.survivors], axis=0)
    return bool(np.abs(aggregate.mean - exact).max() < 1e-3)


ALL_PHASES = PHASES
