import io

import pytest
from rich.console import Console

from fedpeft_secure.events import ClientTrained, Event, Notice, PhaseStarted, RoundFinished, RunStarted
from fedpeft_secure.progress import _clock, _Display, progress
from fedpeft_secure.result import LedgerHead, RoundRecord


def started(*, private: bool = True, rounds_done: int = 0) -> RunStarted:
    return RunStarted(rounds=4, rounds_done=rounds_done, clients=5, private=private, headline="tiny on synthetic")


def finished(number: int, *, accuracy: float | None = 0.8125, dropped: tuple[str, ...] = ()) -> RoundFinished:
    record = RoundRecord(
        round=number,
        attempt=0,
        survivors=("client-1", "client-2", "client-3"),
        dropped=dropped,
        accuracy=accuracy,
        loss=None,
        epsilon_spent={"client-1": 1.234, "client-2": 0.5},
        ledger=LedgerHead(charges=8, digest="00" * 32),
        upload_bytes=1,
        download_bytes=1,
        seconds={},
        model_hash="ab",
    )
    return RoundFinished(record=record, rounds=4)


EVENTS: list[Event] = [
    PhaseStarted(name="loading data 'synthetic'"),
    started(),
    ClientTrained(round=1, client="client-2", position=2, cohort=5),
    PhaseStarted(name="secure sum", round=1),
    Notice(text="round 1: client-4: no budget left"),
    finished(1, dropped=("client-4", "client-5")),
]


def lines_of(events: list[Event]) -> list[str]:
    file = io.StringIO()
    with progress(Console(file=file, force_terminal=False, width=60)) as listen:
        for event in events:
            listen(event)
    return file.getvalue().splitlines()


def test_plain_lines_for_a_log() -> None:
    lines = lines_of(EVENTS)
    assert lines[:3] == ["loading data 'synthetic'", "tiny on synthetic", "round 1: client-4: no budget left"]
    assert lines[3].startswith("round 1/4: 3 of 5 clients, validation accuracy 0.812, ε spent 1.23, 0:0")
    assert lines[3].endswith(" left")
    assert len(lines) == 4, "one line for each thing that matters in a log, none for every client"


def test_brackets_are_text_and_not_markup() -> None:
    assert lines_of([Notice(text="the fractions of [secure_sum] in runs[/x]")]) == [
        "the fractions of [secure_sum] in runs[/x]"
    ]


def test_a_log_has_no_control_characters() -> None:
    assert all(line.isprintable() for line in lines_of(EVENTS))


def test_a_round_that_was_not_validated_shows_no_accuracy() -> None:
    assert "accuracy" not in lines_of([started(), finished(1, accuracy=None)])[1]


def test_no_privacy_is_said_plainly() -> None:
    assert "no privacy" in lines_of([started(private=False), finished(1)])[1]


def shown(display: _Display) -> str:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(display.render())
    return console.export_text()


def test_the_live_display_shows_round_client_phase_accuracy_budget_and_time() -> None:
    display = _Display(console=Console(file=io.StringIO()))
    display.update(EVENTS[0])
    assert "loading data 'synthetic'" in shown(display)
    for event in EVENTS[1:3]:
        display.update(event)
    assert "round 1 of 4" in shown(display)
    assert "training client-2 (2 of 5)" in shown(display)
    display.update(EVENTS[3])
    assert "secure sum" in shown(display)
    display.update(EVENTS[5])
    for part in ("3 of 5 clients", "validation accuracy 0.812", "ε spent 1.23", "left"):
        assert part in shown(display)


def test_a_terminal_gets_a_live_display_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    with progress(Console(file=file, force_terminal=True, width=80)) as listen:
        for event in EVENTS:
            listen(event)
    text = file.getvalue()
    assert "\x1b[" in text
    assert "round 1/4" not in text, "plain lines are for logs"
    assert "no budget left" in text, "notices stay"


def test_the_time_left_is_extrapolated_from_the_rounds_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("fedpeft_secure.progress.time.monotonic", lambda: now)
    display = _Display(console=Console(file=io.StringIO()))
    display.update(started(rounds_done=2))
    now = 170.0
    display.update(finished(3))
    assert "1:10 left" in shown(display), "one round took 70 s and one is left, whatever was done before"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.9, "0:59"), (60, "1:00"), (3725, "62:05")])
def test_the_clock(seconds: float, text: str) -> None:
    assert _clock(seconds) == text
