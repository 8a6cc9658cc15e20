import dataclasses
from typing import get_args

import pytest

from fedpeft_secure import events
from fedpeft_secure.events import ClientTrained, Event, Notice, PhaseStarted, ignore


def test_the_union_names_every_event() -> None:
    declared = {
        value
        for value in vars(events).values()
        if dataclasses.is_dataclass(value) and value.__module__ == events.__name__
    }
    assert set(get_args(Event)) == declared


def test_ignoring_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    ignore(Notice(text="something"))
    assert capfd.readouterr() == ("", "")


def test_events_are_values_and_never_change() -> None:
    event = ClientTrained(round=1, client="client-1", position=1, cohort=5)
    assert event == ClientTrained(round=1, client="client-1", position=1, cohort=5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.round = 2  # type: ignore[misc]
    assert PhaseStarted(name="loading").round is None


def test_events_carry_nothing_private() -> None:
    """Whoever listens may log: no counts of examples, no losses of a client."""
    fields = {field.name for kind in get_args(Event) for field in dataclasses.fields(kind)}
    assert fields == {
        "rounds", "rounds_done", "clients", "private", "headline", "name", "round", "client", "position", "cohort",
        "record", "text",
    }  # fmt: skip
