"""What happens in a run, told to whoever listens: progress displays, logs, tests."""

from collections.abc import Callable
from dataclasses import dataclass

from fedpeft_secure.result import RoundRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStarted:
    """The run is about to train."""

    rounds: int
    rounds_done: int
    clients: int
    private: bool
    headline: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseStarted:
    """Something that takes a while begins: loading, the secure sum, an attack."""

    name: str
    round: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientTrained:
    """A client's contribution is charged and encoded."""

    round: int
    client: str
    position: int
    cohort: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundFinished:
    """The server has a new adapter."""

    record: RoundRecord
    rounds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """Something the user should know, and that is no error."""

    text: str


Event = RunStarted | PhaseStarted | ClientTrained | RoundFinished | Notice
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listens to nothing."""
    del event
