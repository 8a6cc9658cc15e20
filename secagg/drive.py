"""The only loop: steps the sessions of one round and lets `exchange` deliver, drop, delay and record."""

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


def drive(
    server: ServerSession,
    clients: Mapping[str, ClientSession],
    exchange: Exchange,
    *,
    remember: Remember | None = None,
    key_holder: HolderSession | None = None,
    keep: Keep | None = None,
) -> Aggregate:
    """Runs one round to its end.

    Args: clients: {name: session}. exchange: takes what was sent in a turn, returns what arrives. remember: stores a
        client's memory durably before its messages leave; a ProtocolError that it raises keeps them back. key_holder:
        the third party, in protocols that have one. keep: the same for the third party's memory.
    Raises: RoundFailedError, naming the first party that refused, if any did.
    """
    sessions: dict[str, ClientSession] = dict(clients)
    refusals: list[str] = []
    inboxes: dict[str, list[Envelope]] = {name: [] for name in (*sessions, KEY_HOLDER)}
    for _ in range(MAX_TURNS):
        outbox: list[Envelope] = []
        for name in list(sessions):
            if sessions[name].done:
                del sessions[name]
                continue
            try:
                sessions[name], sent = sessions[name].step(tuple(inboxes[name]))
                if remember is not None and sent:
                    remember(name, sessions[name].memory)
            except ProtocolError as error:
                refusals.append(f"{name}: {error}")
                del sessions[name]
                continue
            outbox.extend(sent)
        if key_holder is not None and not key_holder.done:
            try:
                key_holder, sent = key_holder.step(tuple(inboxes[KEY_HOLDER]))
                if keep is not None and sent:
                    keep(key_holder.memory)
                outbox.extend(sent)
            except ProtocolError as error:
                refusals.append(f"{KEY_HOLDER}: {error}")
                key_holder = None
        try:
            server, answers = server.step(tuple(e for e in exchange(tuple(outbox)) if e.recipient == SERVER))
        except RoundFailedError as error:
            raise RoundFailedError(f"{error}; refused by {refusals[0]}" if refusals else str(error)) from error
        if server.result is not None:
            return server.result
        inboxes = {name: [] for name in (*sessions, KEY_HOLDER)}
        for envelope in exchange(answers):
            if envelope.recipient in inboxes:
                inboxes[envelope.recipient].append(envelope)
    raise RoundFailedError(f"no result after {MAX_TURNS} turns")
