"""A round of a sum in one message that a test can stop at any message: the test plays the server, or any party."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

import secagg
from secagg.messages import KEY_HOLDER, SERVER, Envelope

NAMES = tuple(f"client-{i}" for i in range(6))
PROTOCOLS = (secagg.HelperSum(), secagg.BfvSum(), secagg.CkksSum())


@dataclass
class OneMessageRound:
    """All sessions, in the order of the messages: `announced`, `uploads`, `question`, `answer`."""

    protocol: secagg.OneMessageSum
    plan: secagg.SumPlan
    cohort: secagg.Cohort
    vectors: dict[str, np.ndarray]
    clients: dict[str, secagg.ClientSession]
    server: secagg.ServerSession
    key_holder: secagg.HolderSession
    transcript: list[Envelope] = field(default_factory=list)

    def announced(self) -> tuple[Envelope, ...]:
        """The key holder's announcement, relayed: one request a client."""
        self.key_holder, sent = self.key_holder.step(())
        self.server, requests = self.server.step(sent)
        self.transcript += [*sent, *requests]
        return requests

    def uploads(self, requests: tuple[Envelope, ...]) -> list[Envelope]:
        """Every client's only message."""
        sent = []
        for request in requests:
            self.clients[request.recipient], out = self.clients[request.recipient].step((request,))
            sent += out
        self.transcript += sent
        return sent

    def question(self, uploads: list[Envelope]) -> Envelope:
        """What the server asks of the key holder."""
        self.server, (question,) = self.server.step(tuple(uploads))
        self.transcript.append(question)
        return question

    def answer(self, question: Envelope) -> Envelope:
        """What the key holder says."""
        self.key_holder, (answer,) = self.key_holder.step((question,))
        self.transcript.append(answer)
        return answer

    def until_question(self) -> Envelope:
        """Runs honestly up to the server's question."""
        return self.question(self.uploads(self.announced()))

    def result(self, answer: Envelope) -> secagg.Aggregate:
        """The server's result."""
        self.server, _ = self.server.step((answer,))
        return self.server.result

    def finish(self) -> secagg.Aggregate:
        """The whole round, honestly."""
        return self.result(self.answer(self.until_question()))


def make(
    protocol: secagg.OneMessageSum = PROTOCOLS[0],
    *,
    names=NAMES,
    dim: int = 7,
    seed: int = 0,
    cohort: secagg.Cohort | None = None,
    memory: secagg.HolderMemory | None = None,
    members: Callable[[secagg.Member], secagg.Member] = lambda member: member,
    weight: int | None = None,
    **plan,
) -> OneMessageRound:
    cohort = cohort or secagg.Cohort.with_key_holder(names, secagg.seeded_entropy(b"identities"))
    made = protocol.plan(clients=names, dim=dim, directory=cohort.directory, **plan)
    rng, entropy = np.random.default_rng(seed), secagg.seeded_entropy(b"round" + seed.to_bytes(8, "big"))
    vectors, clients = {}, {}
    for name in made.clients:
        vectors[name] = rng.uniform(-1, 1, dim)
        member = secagg.Member(
            name=name,
            identity=cohort.identities[name],
            directory=cohort.directory,
            received=made.manifest.sent_to(name),
            noised=made.noised,
        )
        contribution = made.encode(name, vectors[name], weight=weight, rng=rng)
        clients[name] = protocol.client(made, member=members(member), contribution=contribution, entropy=entropy)
    return OneMessageRound(
        protocol=protocol,
        plan=made,
        cohort=cohort,
        vectors=vectors,
        clients=clients,
        server=protocol.server(made, directory=cohort.directory),
        key_holder=protocol.key_holder(
            made, identity=cohort.key_holder, directory=cohort.directory, memory=memory, entropy=entropy
        ),
    )


def close(aggregate: secagg.Aggregate, vectors: dict[str, np.ndarray]) -> bool:
    exact = np.mean([vectors[name] for name in aggregate.survivors], axis=0)
    return bool(np.abs(aggregate.mean - exact).max() < 1e-3)


def flipped(envelope: Envelope, position: int = 0) -> Envelope:
    """The same message with one bit changed."""
    broken = bytearray(envelope.payload)
    broken[position] ^= 1
    return replace(envelope, payload=bytes(broken))


__all__ = ["KEY_HOLDER", "NAMES", "PROTOCOLS", "SERVER", "Envelope", "OneMessageRound", "close", "flipped", "make"]
