"""The only loop: steps the sessions of one round and lets somebody deliver, drop, delay and record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from secagg.errors import ProtocolError, RoundFailedError
from secagg.holder_memory import HolderMemory
from secagg.memory import ClientMemory
from secagg.messages import KEY_HOLDER, SERVER, Envelope, Transcript
from secagg.session import Aggregate, ClientSession, HolderSession, ServerSession

MAX_TURNS = 16
Exchange = Callable[[tuple[Envelope, ...]], tuple[Envelope, ...]]
Remember = Callable[[str, ClientMemory], None]
Keep = Callable[[HolderMemory], None]


@dataclass(slots=True)
class Recorder:
    """An `exchange` inside the process: delivers everything but the messages of vanished clients, and records it.

    Args: drop: {phase: clients that vanish before sending their message of that phase}; the vanished stay away.
    """

    drop: Mapping[str, frozenset[str] | set[str]] = field(default_factory=dict)
    transcript: Transcript = field(default_factory=Transcript)
    gone: frozenset[str] = frozenset()

    def __call__(self, envelopes: tuple[Envelope, ...]) -> tuple[Envelope, ...]:
        """Delivers one batch."""
        delivered = []
        for envelope in envelopes:
            if envelope.sender in self.drop.get(envelope.phase, ()):
                self.gone |= {envelope.sender}
            if envelope.sender not in self.gone and envelope.recipient not in self.gone:
                delivered.append(envelope)
        self.transcript = self.transcript.extended(delivered)
        return tuple(delivered)


def serve(server: ServerSession, deliver: Exchange) -> Aggregate:
    """Runs the server's half of one round to its end, wherever the other parties are.

    Args: server: before its first step. deliver: takes what the server says, nothing at first, and returns what arrives
        for it; whoever is missing from that has vanished.
    Raises: RoundFailedError.
    """
    said: tuple[Envelope, ...] = ()
    for _ in range(MAX_TURNS):
        server, said = server.step(deliver(said))
        if server.result is not None:
            return server.result
    raise RoundFailedError(f"no result after {MAX_TURNS} turns")


def drive(
    server: ServerSession,
    clients: Mapping[str, ClientSession],
    exchange: Exchange,
    *,
    remember: Remember | None = None,
    key_holder: HolderSession | None = None,
    keep: Keep | None = None,
) -> Aggregate:
    """Runs one round to its end, all parties in this process.

    Args: clients: {name: session}. exchange: takes what was sent in a turn, returns what arrives. remember: stores a
        client's memory durably before its messages leave; a ProtocolError that it raises keeps them back. key_holder:
        the third party, in protocols that have one. keep: the same for the third party's memory.
    Raises: RoundFailedError, naming the first party that refused, if any did.
    """
    here = _Parties(
        sessions=dict(clients), exchange=exchange, remember=remember, key_holder=key_holder, keep=keep, refusals=[]
    )
    try:
        return serve(server, here)
    except RoundFailedError as error:
        raise RoundFailedError(f"{error}; refused by {here.refusals[0]}" if here.refusals else str(error)) from error


@dataclass(slots=True)
class _Parties:
    """Everybody but the server."""

    sessions: dict[str, ClientSession]
    exchange: Exchange
    remember: Remember | None
    key_holder: HolderSession | None
    keep: Keep | None
    refusals: list[str]

    def __call__(self, said: tuple[Envelope, ...]) -> tuple[Envelope, ...]:
        """One turn: they hear what the server said, and answer."""
        inboxes: dict[str, list[Envelope]] = {name: [] for name in (*self.sessions, KEY_HOLDER)}
        for envelope in self.exchange(said) if said else ():
            if envelope.recipient in inboxes:
                inboxes[envelope.recipient].append(envelope)
        outbox: list[Envelope] = []
        for name in list(self.sessions):
            outbox.extend(self._client(name, tuple(inboxes[name])))
        outbox.extend(self._holder(tuple(inboxes[KEY_HOLDER])))
        return tuple(e for e in self.exchange(tuple(outbox)) if e.recipient == SERVER)

    def _client(self, name: str, inbox: tuple[Envelope, ...]) -> tuple[Envelope, ...]:
        if self.sessions[name].done:
            del self.sessions[name]
            return ()
        try:
            self.sessions[name], sent = self.sessions[name].step(inbox)
            if self.remember is not None and sent:
                self.remember(name, self.sessions[name].memory)
        except ProtocolError as error:
            self.refusals.append(f"{name}: {error}")
            del self.sessions[name]
            return ()
        return sent

    def _holder(self, inbox: tuple[Envelope, ...]) -> tuple[Envelope, ...]:
        if self.key_holder is None or self.key_holder.done:
            return ()
        try:
            self.key_holder, sent = self.key_holder.step(inbox)
            if self.keep is not None and sent:
                self.keep(self.key_holder.memory)
        except ProtocolError as error:
            self.refusals.append(f"{KEY_HOLDER}: {error}")
            self.key_holder = None
            return ()
        return sent
