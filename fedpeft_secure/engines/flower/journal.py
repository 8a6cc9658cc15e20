"""Structured logs: one JSON object a line, of public facts only; no payload, key, text or update ever comes here."""

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from fedpeft_secure.events import ClientTrained, Event, Notice, PhaseStarted, RoundFinished, RunStarted


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """Writes lines with the time, what happened, and its public details."""

    stream: TextIO = field(repr=False)

    @classmethod
    def to_stderr(cls) -> "Journal":
        """Where service managers and Flower look for logs."""
        return cls(stream=sys.stderr)

    @classmethod
    def to_file(cls, path: Path | None) -> "Journal":
        """Appends to a file of mode 0600; where none is given, to the standard error stream."""
        if path is None:
            return cls.to_stderr()
        path.touch(mode=0o600)
        return cls(stream=path.open("a", encoding="utf-8"))

    def write(self, what: str, **details: object) -> None:
        """One line."""
        entry = {"time": round(time.time(), 3), "event": what, **details}
        self.stream.write(json.dumps(entry) + "\n")
        self.stream.flush()

    def event(self, event: Event) -> None:
        """What the training loop tells, in these terms."""
        match event:
            case RunStarted():
                self.write("run", rounds=event.rounds, done=event.rounds_done, headline=event.headline)
            case PhaseStarted():
                self.write("phase", name=event.name, round=event.round)
            case ClientTrained():
                self.write("trained", round=event.round, client=event.client)
            case RoundFinished():
                record = event.record
                self.write(
                    "round",
                    round=record.round,
                    survivors=list(record.survivors),
                    dropped=list(record.dropped),
                    failure=record.failure,
                    accuracy=record.accuracy,
                    upload_bytes=record.upload_bytes,
                    epsilon=max(record.epsilon_spent.values(), default=0.0),
                )
            case Notice():
                self.write("notice", text=event.text)
