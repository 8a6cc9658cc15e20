import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import secagg
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation import ServerOptimizer
from fedpeft_secure.engines import in_process
from fedpeft_secure.engines.in_process import InProcess
from fedpeft_secure.errors import RunFailedError
from fedpeft_secure.events import Event, Notice, RoundFinished
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.rundir import RunDirectory, read_rounds
from fedpeft_secure.server.checkpoints import Progress, load_checkpoint
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.loop import spent, train_rounds

MakeFederation = Callable[..., Federation]


class Played:
    """A run's rounds, and everything that it told."""

    def __init__(self, federation: Federation, folder: Path) -> None:
        self.federation = federation
        self.directory = RunDirectory(root=folder)
        self.events: list[Event] = []
        self.recorded: list[tuple[RoundPlan, secagg.Transcript]] = []

    def play(self, progress: Progress | None = None) -> Progress:
        federation = self.federation
        first = Progress(rounds_done=0, state=federation.start, optimizer=federation.optimizer, records=())
        return train_rounds(
            federation,
            self.directory,
            progress or first,
            engine=InProcess(),
            record=lambda plan, transcript: self.recorded.append((plan, transcript)),
            listen=self.events.append,
        )

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]


@pytest.fixture
def played(make_federation: MakeFederation, tmp_path: Path) -> Callable[..., Played]:
    return lambda overrides=None: Played(make_federation(overrides), tmp_path)


def always_failing(monkeypatch: pytest.MonkeyPatch, rounds: range) -> None:
    """The secure sum of these rounds fails after everybody was charged."""
    original = in_process.run_round

    def fail(plan: RoundPlan, *args: object, **options: object) -> object:
        outcome = original(plan, *args, **options)  # type: ignore[arg-type]
        return replace(outcome, aggregate=None, received=None, failure="cut off") if plan.round in rounds else outcome

    monkeypatch.setattr(in_process, "run_round", fail)


def test_every_round_improves_is_recorded_and_checkpointed(played: Callable[..., Played]) -> None:
    run = played()
    progress = run.play()
    assert progress.rounds_done == len(progress.records) == len(run.recorded) == 2
    assert progress.state.digest() != run.federation.start.digest()
    assert [record.round for record in read_rounds(run.directory)] == [1, 2]
    found = load_checkpoint(run.directory, run.federation.backbone.spec, run.federation.optimizer)
    assert found is not None
    assert found.state.digest() == progress.state.digest()
    assert [event.record for event in run.events if isinstance(event, RoundFinished)] == list(progress.records)


def test_a_record_says_who_was_there_what_it_cost_and_what_is_spent(played: Callable[..., Played]) -> None:
    run = played()
    first, last = run.play().records
    plan, transcript = run.recorded[-1]
    assert first.survivors == tuple(sorted(plan.cohort))
    assert (first.dropped, first.failure, first.attempt) == ((), "", 0)
    sent = [transcript.total_bytes(sender=name) for name in plan.cohort]
    assert last.upload_bytes == round(sum(sent) / 5)
    assert last.download_bytes > run.federation.start.values["base_model.model.classifier.weight"].nbytes
    assert last.epsilon_spent == spent(run.federation)
    assert all(0 < first.epsilon_spent[name] < last.epsilon_spent[name] <= 8 for name in run.federation.clients)
    assert last.ledger.charges == 10
    assert {"training", "secure_sum", "server", "validation"} <= set(last.seconds)


def test_validation_waits_for_its_turn_and_for_the_last_round(played: Callable[..., Played]) -> None:
    run = played({"training.rounds": 3, "training.evaluate_every": 2})
    assert [record.accuracy is None for record in run.play().records] == [True, False, False]


def test_a_run_goes_on_where_it_stood(played: Callable[..., Played]) -> None:
    whole = played().play()
    half = replace(whole, rounds_done=1, state=whole.state, records=whole.records[:1])
    run = played()
    run.play(half)
    assert [plan.round for plan, _ in run.recorded] == [2]


def test_a_failed_round_changes_nothing_but_what_is_spent(
    played: Callable[..., Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    always_failing(monkeypatch, range(1, 2))
    run = played()
    first, second = run.play().records
    assert (first.failure, first.survivors, first.dropped) == ("cut off", (), run.federation.config.client_names)
    assert first.model_hash == run.federation.start.digest().hex() != second.model_hash
    assert all(value > 0 for value in first.epsilon_spent.values())
    assert [plan.round for plan, _ in run.recorded] == [2], "what failed is not attacked"


def test_three_failures_in_a_row_end_the_run(played: Callable[..., Played], monkeypatch: pytest.MonkeyPatch) -> None:
    always_failing(monkeypatch, range(1, 10))
    run = played({"training.rounds": 6})
    with pytest.raises(RunFailedError, match=r"the secure sum keeps failing, last because cut off; see rounds\.jsonl"):
        run.play()
    assert len(read_rounds(run.directory)) == 3


def test_a_run_in_which_nothing_was_trained_is_no_success(
    played: Callable[..., Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    always_failing(monkeypatch, range(1, 10))
    with pytest.raises(RunFailedError, match="keeps failing"):
        played().play()


def test_refusals_are_told_with_their_reason(played: Callable[..., Played]) -> None:
    run = played({"clients.count": 6, "clients.per_round": 6})
    loner = run.federation.clients["client-2"]
    clients = {**run.federation.clients, "client-2": replace(loner, policy=replace(loner.policy, min_cohort=7))}
    run.federation = replace(run.federation, clients=clients)
    records = run.play().records
    assert [record.dropped for record in records] == [("client-2",)] * 2
    assert any("client-2 refuses round 1: min_cohort 3 is below 7" in notice for notice in run.notices)


def test_everybody_refusing_ends_the_run_with_the_first_reason(played: Callable[..., Played]) -> None:
    run = played()
    clients = {
        name: replace(client, policy=replace(client.policy, min_cohort=7))
        for name, client in run.federation.clients.items()
    }
    run.federation = replace(run.federation, clients=clients)
    with pytest.raises(RunFailedError, match="every client refused round 1, the first because: client-1: client-1 ref"):
        run.play()


@pytest.mark.parametrize(("value", "message"), [(math.inf, "diverged to infinite values"), (0.0, "changed nothing")])
def test_a_step_to_infinity_or_nowhere_ends_the_run(
    value: float, message: str, played: Callable[..., Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = played()

    def apply(
        state: AdapterState, mean: np.ndarray, spec: object, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        return AdapterState({name: old + value for name, old in state.values.items()}), optimizer

    monkeypatch.setattr(type(run.federation.strategy.strategy), "apply", lambda self, *args: apply(*args))
    with pytest.raises(RunFailedError, match=message):
        run.play()
    assert not run.directory.rounds.exists()


def test_a_step_that_rounding_swallows_ends_the_run(
    played: Callable[..., Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What clients are sent is what counts: they would be charged for the same adapter again."""
    run = played({"aggregation.downloads": "deltas"})
    steps = iter((1.0, 1e-6))

    def apply(
        self: object, state: AdapterState, mean: object, spec: object, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        step = next(steps)
        return AdapterState({name: old + np.float32(step) for name, old in state.values.items()}), optimizer

    monkeypatch.setattr(type(run.federation.strategy.strategy), "apply", apply)
    with pytest.raises(RunFailedError, match="changed nothing"):
        run.play()
    assert len(read_rounds(run.directory)) == 1


GROUPS = {
    "clients.count": 12,
    "clients.per_round": 12,
    "aggregation.groups": 4,
    "aggregation.robust": "trimmed_mean",
    "secure_sum.protocol": "helper",
    "secure_sum.adversarial_fraction": 0.05,
}


def test_groups_are_drawn_anew_and_recorded_in_every_round(played: Callable[..., Played]) -> None:
    run = played(GROUPS)
    first, second = run.play().records
    for record in (first, second):
        assert [len(group.survivors) for group in record.groups] == [3, 3, 3, 3]
        assert sorted(name for group in record.groups for name in group.members) == list(record.survivors)
        assert record.failure == ""
    assert first.groups != second.groups
    assert read_rounds(run.directory)[0].groups == first.groups
    assert len(run.recorded) == 2
