"""Progress on standard error: a live display on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table

from fedpeft_secure.events import ClientTrained, Event, Listener, Notice, PhaseStarted, RoundFinished, RunStarted


@contextmanager
def progress(console: Console) -> Iterator[Listener]:
    """A listener that shows events on `console` for as long as the block lasts."""
    display = _Display(console=console)
    if not console.is_terminal:
        yield display.print_line
        return
    with Live(console=console, refresh_per_second=4, get_renderable=display.render, transient=True):
        yield display.update


@dataclass(slots=True)
class _Display:
    """What is shown: the last event of each kind."""

    console: Console
    run: RunStarted | None = None
    round: int = 0
    activity: str = ""
    last: RoundFinished | None = None
    started: float = field(default_factory=time.monotonic)

    def update(self, event: Event) -> None:
        """Takes an event into the live display; lines that should stay are printed above it."""
        match event:
            case RunStarted():
                self.run, self.started = event, time.monotonic()
                self.console.print(event.headline, markup=False, highlight=False, soft_wrap=True)
            case PhaseStarted(name=name, round=number):
                self.round, self.activity = number or self.round, name
            case ClientTrained():
                self.round = event.round
                self.activity = f"training {event.client} ({event.position} of {event.cohort})"
            case RoundFinished():
                self.last = event
            case Notice(text=text):
                self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def print_line(self, event: Event) -> None:
        """Prints one plain line for each event that matters in a log."""
        self.update(event)
        match event:
            case RoundFinished():
                self.console.print(
                    f"round {event.record.round}/{event.rounds}: {self._standing()}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )
            case PhaseStarted(name=name, round=None):
                self.console.print(name, markup=False, highlight=False, soft_wrap=True)
            case _:
                pass

    def render(self) -> Table:
        """The live display: round, what is going on, accuracy, ε, time left."""
        table = Table.grid(padding=(0, 2))
        if self.run is not None:
            table.add_row(f"round {max(self.round, 1)} of {self.run.rounds}", self.activity)
            table.add_row("", self._standing() if self.last is not None else "")
        else:
            table.add_row(self.activity, "")
        return table

    def _standing(self) -> str:
        if self.last is None or self.run is None:
            return ""
        record = self.last.record
        parts = [f"{len(record.survivors)} of {len(record.survivors) + len(record.dropped)} clients"]
        if record.accuracy is not None:
            parts.append(f"validation accuracy {record.accuracy:.3f}")
        parts.append(
            f"ε spent {max(record.epsilon_spent.values(), default=0.0):.2f}" if self.run.private else "no privacy"
        )
        done, left = record.round - self.run.rounds_done, self.last.rounds - record.round
        parts.append(f"{_clock((time.monotonic() - self.started) / max(done, 1) * left)} left")
        return ", ".join(parts)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
