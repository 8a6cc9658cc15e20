"""Sessions that time their steps, and an exchange that counts bytes: what a measured round is made of."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from secagg.holder_memory import HolderMemory
from secagg.memory import ClientMemory
from secagg.messages import KEY_HOLDER, SERVER, Envelope
from secagg.session import Aggregate, ClientSession, HolderSession, ServerSession

Seconds = dict[str, float]


@dataclass(slots=True)
class Stopwatch:
    """Seconds by party and phase."""

    clock: Callable[[], float]
    seconds: dict[str, Seconds] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))

    def timed_client(self, session: ClientSession) -> "TimedClient":
        """The same session, timed."""
        return TimedClient(session, self)

    def timed_server(self, session: ServerSession) -> "TimedServer":
        """The same session, timed."""
        return TimedServer(session, self)

    def timed_key_holder(self, session: HolderSession) -> "TimedKeyHolder":
        """The same session, timed."""
        return TimedKeyHolder(session, self)

    def add(self, party: str, phase: str, start: float) -> None:
        """Counts what has passed since `start`."""
        self.seconds[party][phase] += self.clock() - start


@dataclass(slots=True)
class TimedClient:
    """A client session; each step that sends counts for the phase of what it sends."""

    session: ClientSession
    watch: Stopwatch

    @property
    def name(self) -> str:
        """See `ClientSession`."""
        return self.session.name

    @property
    def done(self) -> bool:
        """See `ClientSession`."""
        return self.session.done

    @property
    def memory(self) -> ClientMemory:
        """See `ClientSession`."""
        return self.session.memory

    def step(self, inbox: tuple[Envelope, ...]) -> tuple["TimedClient", tuple[Envelope, ...]]:
        """See `ClientSession`."""
        start = self.watch.clock()
        self.session, sent = self.session.step(inbox)
        if sent:
            self.watch.add(self.name, sent[0].phase, start)
        return self, sent


@dataclass(slots=True)
class TimedServer:
    """A server session; each step counts for the phase that it closes."""

    session: ServerSession
    watch: Stopwatch

    @property
    def result(self) -> Aggregate | None:
        """See `ServerSession`."""
        return self.session.result

    @property
    def rejected(self) -> tuple[str, ...]:
        """See `ServerSession`."""
        return self.session.rejected

    def step(self, inbox: tuple[Envelope, ...]) -> tuple["TimedServer", tuple[Envelope, ...]]:
        """See `ServerSession`."""
        start = self.watch.clock()
        self.session, sent = self.session.step(inbox)
        self.watch.add(SERVER, inbox[0].phase, start)
        return self, sent


@dataclass(slots=True)
class TimedKeyHolder:
    """A key holder's session; each step that sends counts for the phase of what it sends."""

    session: HolderSession
    watch: Stopwatch

    @property
    def done(self) -> bool:
        """See `HolderSession`."""
        return self.session.done

    @property
    def memory(self) -> HolderMemory:
        """See `HolderSession`."""
        return self.session.memory

    def step(self, inbox: tuple[Envelope, ...]) -> tuple["TimedKeyHolder", tuple[Envelope, ...]]:
        """See `HolderSession`."""
        start = self.watch.clock()
        self.session, sent = self.session.step(inbox)
        if sent:
            self.watch.add(KEY_HOLDER, sent[0].phase, start)
        return self, sent


@dataclass(slots=True)
class Meter:
    """An `exchange` that counts one client's bytes and keeps nothing; `gone` vanish before they upload."""

    watched: str
    gone: frozenset[str]
    upload_bytes: int = 0
    download_bytes: int = 0
    uploading: bool = False

    def __call__(self, envelopes: tuple[Envelope, ...]) -> tuple[Envelope, ...]:
        """Delivers one batch."""
        self.uploading |= any(envelope.phase == "upload" and envelope.sender != SERVER for envelope in envelopes)
        delivered = []
        for envelope in envelopes:
            if self.uploading and (envelope.sender in self.gone or envelope.recipient in self.gone):
                continue
            self.upload_bytes += envelope.num_bytes * (envelope.sender == self.watched)
            self.download_bytes += envelope.num_bytes * (envelope.recipient == self.watched)
            delivered.append(envelope)
        return tuple(delivered)
