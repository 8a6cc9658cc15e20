"""The server's side of the wire to its nodes: who is who, signed orders, checked answers, deadlines."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import secagg
from fedpeft_secure.engines.flower.carrier import Carrier
from fedpeft_secure.engines.flower.orders import DONE, JOIN, Answer, Order

LOOK_AGAIN_SECONDS = 0.2

Now = Callable[[], int]
Lost = Callable[[str, str, str], None]
"""(party, kind of order, cause): told of everybody from whom there was no good answer."""


@dataclass(kw_only=True, slots=True, eq=False)
class Nodes:
    """Everybody whom the server can reach, by the names of the key directory.

    Guarantee: an answer counts only if the pinned key of the party that was asked signed it, for this very order.

    Args:
        carrier: brings bytes to nodes.
        identity: the server's own key.
        directory: everybody's pinned public keys.
        run: the run's name.
        lost: told about missing answers.
        now: nanoseconds; orders are numbered by them, so that numbers grow over restarts.
        addresses: {party: the carrier's number}; learned.
        number: of the newest order.
        sent_bytes, received_bytes: on the carrier, so far.
        exchanges, waited_seconds: how many, and how long they took.
    """

    carrier: Carrier = field(repr=False)
    identity: secagg.Identity = field(repr=False)
    directory: secagg.KeyDirectory = field(repr=False)
    run: str
    lost: Lost = field(repr=False)
    now: Now = field(default=time.time_ns, repr=False)
    addresses: dict[str, int] = field(default_factory=dict)
    number: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    exchanges: int = 0
    waited_seconds: float = 0.0

    def find(self, wanted: frozenset[str], terms: bytes, *, patience: float, seconds: float) -> dict[str, str]:
        """Asks the nodes that are not known yet who they are, and to prepare for the run.

        Args:
            wanted: the parties that are needed.
            terms: the run's.
            patience: seconds to wait for nodes that are not there yet.
            seconds: the deadline of an answer.

        Returns:
            {party: why it refused}.
        """
        refusals: dict[str, str] = {}
        asked: set[int] = set()
        until = time.monotonic() + patience
        while wanted - set(self.addresses):
            strangers = self.carrier.nodes() - set(self.addresses.values()) - asked
            if strangers:
                asked |= strangers
                refusals |= self._join(strangers, terms, seconds=seconds)
            elif time.monotonic() >= until:
                break
            else:
                time.sleep(LOOK_AGAIN_SECONDS)
        return refusals

    def _join(self, strangers: frozenset[int], terms: bytes, *, seconds: float) -> dict[str, str]:
        order = self._order(JOIN, "", terms)
        refusals = {}
        for node, reply in self._exchange(dict.fromkeys(strangers, order), seconds=seconds).items():
            answer = self._opened(reply, order, "a stranger", JOIN)
            if answer is None:
                continue
            self.addresses[answer.sender] = node
            if answer.kind != DONE:
                refusals[answer.sender] = answer.reason
        return refusals

    def ask(self, kind: str, bodies: Mapping[str, bytes], *, seconds: float) -> dict[str, Answer]:
        """Sends each party its order; the good answers that came in time.

        Args:
            kind: of the orders.
            bodies: {party: what it is told}.
            seconds: the deadline.
        """
        orders = {name: self._order(kind, name, body) for name, body in bodies.items() if name in self.addresses}
        by_node = {self.addresses[name]: order for name, order in orders.items()}
        replies = self._exchange(by_node, seconds=seconds)
        answers: dict[str, Answer] = {}
        for name in bodies:
            if name not in orders:
                self.lost(name, kind, "unreachable")
                continue
            reply = replies.get(self.addresses[name])
            if reply is None:
                self.lost(name, kind, "no answer")
                continue
            answer = self._opened(reply, orders[name], name, kind)
            if answer is not None and answer.sender == name:
                answers[name] = answer
        return answers

    def _order(self, kind: str, recipient: str, body: bytes) -> bytes:
        self.number = max(self.number + 1, self.now())
        order = Order(run=self.run, number=self.number, kind=kind, recipient=recipient, body=body)
        return order.signed(self.identity)

    def _opened(self, reply: bytes, order: bytes, name: str, kind: str) -> Answer | None:
        try:
            return Answer.opened(reply, order=order, directory=self.directory)
        except secagg.ProtocolError as error:
            self.lost(name, kind, f"not accepted: {error}")
            return None

    def _exchange(self, messages: Mapping[int, bytes], *, seconds: float) -> dict[int, bytes]:
        if not messages:
            return {}
        started = time.monotonic()
        replies = self.carrier.exchange(messages, seconds=seconds)
        self.waited_seconds += time.monotonic() - started
        self.exchanges += 1
        self.sent_bytes += sum(map(len, messages.values()))
        self.received_bytes += sum(map(len, replies.values()))
        return replies
