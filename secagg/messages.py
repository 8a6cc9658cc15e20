"""What travels: envelopes, and the transcript of everything that was delivered."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from secagg.errors import WireError
from secagg.wire import Reader, Writer

SERVER = "server"
KEY_HOLDER = "key-holder"
ENVELOPE_MAGIC = b"FSM\x01"
TRANSCRIPT_MAGIC = b"FST\x01"


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """One message: who says what to whom, in which phase.

    Args: sender, recipient: a client's name, "server" or "key-holder". phase: that of the message this is,
        or asks for.
    """

    sender: str
    recipient: str
    phase: str
    payload: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """Encodes the envelope; `from_bytes` inverts it."""
        writer = Writer(ENVELOPE_MAGIC).text(self.sender).text(self.recipient).text(self.phase)
        return writer.blob(self.payload).done()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Envelope":
        """Parses strictly; raises WireError."""
        reader = Reader(data=data, what="envelope").magic(ENVELOPE_MAGIC)
        envelope = cls(sender=reader.text(), recipient=reader.text(), phase=reader.text(), payload=reader.blob())
        reader.end()
        return envelope

    @property
    def num_bytes(self) -> int:
        """Size on the wire."""
        names = (self.sender, self.recipient, self.phase)
        return len(ENVELOPE_MAGIC) + sum(1 + len(name.encode()) for name in names) + 4 + len(self.payload)


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcript:
    """All delivered messages, in order: what an observer of the network and the server together have seen."""

    envelopes: tuple[Envelope, ...] = field(default=(), repr=False)

    def between(
        self, *, sender: str | None = None, recipient: str | None = None, phase: str | None = None
    ) -> tuple[Envelope, ...]:
        """Returns the messages that match every given field."""
        return tuple(
            envelope
            for envelope in self.envelopes
            if sender in (None, envelope.sender)
            and recipient in (None, envelope.recipient)
            and phase in (None, envelope.phase)
        )

    def total_bytes(self, *, sender: str | None = None, recipient: str | None = None) -> int:
        """Returns the bytes on the wire of the messages that match."""
        return sum(envelope.num_bytes for envelope in self.between(sender=sender, recipient=recipient))

    def extended(self, envelopes: Iterable[Envelope]) -> "Transcript":
        """Returns a transcript with more messages at its end."""
        return Transcript(envelopes=(*self.envelopes, *envelopes))

    def to_bytes(self) -> bytes:
        """Encodes all messages; `from_bytes` inverts it."""
        writer = Writer(TRANSCRIPT_MAGIC).uint(len(self.envelopes), num_bytes=4)
        for envelope in self.envelopes:
            writer.blob(envelope.to_bytes())
        return writer.done()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Transcript":
        """Parses strictly; raises WireError."""
        reader = Reader(data=data, what="transcript").magic(TRANSCRIPT_MAGIC)
        count = reader.uint(num_bytes=4)
        envelopes = []
        for _ in range(count):
            envelopes.append(Envelope.from_bytes(reader.blob()))
        reader.end()
        return cls(envelopes=tuple(envelopes))

    def save(self, path: Path) -> None:
        """Writes the transcript, readable by the owner only (mode 0600)."""
        path.touch(mode=0o600, exist_ok=True)
        path.chmod(0o600)
        path.write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> "Transcript":
        """Reads what `save` wrote; raises WireError."""
        try:
            return cls.from_bytes(path.read_bytes())
        except FileNotFoundError:
            raise WireError(f"{path}: no transcript there") from None
