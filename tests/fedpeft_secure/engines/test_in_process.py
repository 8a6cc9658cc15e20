from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

import dp
import secagg
from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.aggregation import Strategy
from fedpeft_secure.aggregation.on_tensors import OnTensors
from fedpeft_secure.clients import trainer as trainer_module
from fedpeft_secure.clients.client import Client
from fedpeft_secure.clients.memory import load_memory
from fedpeft_secure.engines.in_process import run_round
from fedpeft_secure.engines.rounds import TRAIN, RoundOutcome
from fedpeft_secure.events import ClientTrained, Event, PhaseStarted, ignore
from fedpeft_secure.plans import RoundPlan, unpack_request
from fedpeft_secure.secure_sums import sum_plan
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.planning import plan_round

MakeFederation = Callable[..., Federation]
PLAIN = {"secure_sum.protocol": "plain"}


@dataclass(frozen=True)
class Poison:
    """A strategy that encodes the largest vector that the codec takes."""

    honest: Strategy
    size: int

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        return self.honest.trainable(spec)

    def encode(self, delta: object, spec: AdapterSpec) -> np.ndarray:
        return np.full(self.size, 0.99)


def plan_of(federation: Federation, **changes: object) -> RoundPlan:
    plan = plan_round(
        federation.config,
        run=federation.run,
        round_number=1,
        attempt=0,
        state=federation.start,
        strategy=federation.strategy,
        budgets=federation.budgets,
    )
    return RoundPlan.model_validate({**plan.model_dump(), **changes})


def play(
    federation: Federation,
    plan: RoundPlan | None = None,
    *,
    drop: Mapping[str, frozenset[str]] | None = None,
    listen: Callable[[Event], None] = ignore,
) -> RoundOutcome:
    return run_round(
        plan or plan_of(federation),
        federation.start,
        federation.clients,
        strategy=federation.strategy,
        spec=federation.backbone.spec,
        directory=federation.keys.directory,
        drop=drop or {},
        listen=listen,
    )


@pytest.mark.parametrize("overrides", [PLAIN, {}, {"privacy.epsilon": "inf"}, {"secure_sum.server": "curious"}])
def test_the_aggregate_is_the_weighted_mean_of_what_clients_encoded(
    overrides: dict[str, object], make_federation: MakeFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = make_federation(overrides)
    encoded: list[np.ndarray] = []
    original = trainer_module.train_locally

    inner = federation.strategy.strategy  # type: ignore[attr-defined]

    def spy(*args: object) -> object:
        update = original(*args)  # type: ignore[arg-type]
        encoded.append(inner.encode(update.delta, federation.backbone.spec))
        return update

    monkeypatch.setattr(trainer_module, "train_locally", spy)
    outcome = play(federation)
    private = federation.budgets[0].private
    weights = [1 if private else len(client.examples) for client in federation.clients.values()]
    assert outcome.aggregate is not None
    assert outcome.aggregate.survivors == tuple(sorted(federation.clients))
    assert outcome.aggregate.total_weight == sum(weights)
    expected = np.average(encoded, axis=0, weights=weights)
    plan = plan_of(federation)
    tolerance = 2 * plan.codec_clip / 2**15 * (1 if private else plan.max_weight / min(weights))
    assert np.abs(outcome.aggregate.mean - expected).max() < tolerance
    assert (outcome.failure, outcome.refusals) == ("", ())


def test_everybody_gets_the_same_request_and_the_transcript_holds_it(make_federation: MakeFederation) -> None:
    federation = make_federation()
    outcome = play(federation)
    requests = outcome.transcript.between(sender=secagg.SERVER, phase=TRAIN)
    assert [request.recipient for request in requests] == list(plan_of(federation).cohort)
    assert len({request.payload for request in requests}) == 1
    plan, state = unpack_request(requests[0].payload, federation.backbone.spec)
    assert plan == plan_of(federation)
    assert state.digest() == federation.start.digest()


def test_a_replayed_transcript_gives_the_same_aggregate(make_federation: MakeFederation) -> None:
    federation = make_federation(PLAIN)
    outcome = play(federation)
    plan = plan_of(federation)
    sums = sum_plan(plan, dim=federation.trained.size, directory=federation.keys.directory)
    vectors = [secagg.plain.read_contribution(outcome.transcript, sums, name) for name in plan.cohort]
    assert outcome.aggregate is not None
    assert np.allclose(outcome.aggregate.mean, np.mean(vectors, axis=0), atol=1e-12)


def test_bytes_are_counted_on_the_wire(make_federation: MakeFederation) -> None:
    federation = make_federation(PLAIN)
    transcript = play(federation).transcript
    (sent,) = transcript.between(sender="client-1")
    assert transcript.total_bytes(sender="client-1") == len(sent.to_bytes())
    (received,) = transcript.between(recipient="client-1")
    assert transcript.total_bytes(recipient="client-1") == len(received.to_bytes())
    assert len(sent.payload) >= federation.trained.size * 18 // 8, "16 bits and room for five summands"


@pytest.mark.parametrize("phase", ["advertise", "share", "upload", "confirm", "unmask"])
def test_a_client_that_vanishes_is_left_out_or_kept_but_never_half_counted(
    phase: str, make_federation: MakeFederation
) -> None:
    federation = make_federation()
    outcome = play(federation, drop={phase: frozenset({"client-4"})})
    assert outcome.aggregate is not None
    uploaded = phase in ("confirm", "unmask")
    assert ("client-4" in outcome.aggregate.survivors) == uploaded
    assert len(outcome.aggregate.survivors) == (5 if uploaded else 4)
    plain = play(make_federation(PLAIN), drop={} if uploaded else {"upload": frozenset({"client-4"})}).aggregate
    assert plain is not None
    step = plan_of(federation).codec_clip / 2**15
    assert np.abs(outcome.aggregate.mean - plain.mean).max() < 2 * step


def test_a_vanished_client_was_charged_all_the_same(make_federation: MakeFederation) -> None:
    federation = make_federation()
    play(federation, drop={"upload": frozenset({"client-4"})})
    ledger = federation.clients["client-4"].ledger
    assert len(ledger.history("client-4")) == 1


def test_a_refusing_client_is_a_dropout_and_says_why(make_federation: MakeFederation) -> None:
    federation = make_federation()
    strict = federation.clients["client-2"]
    federation.clients["client-2"] = replace(strict, policy=replace(strict.policy, min_cohort=5))
    heard: list[Event] = []
    outcome = play(federation, listen=heard.append)
    assert outcome.refusals == ("client-2: client-2 refuses round 1: min_cohort 3 is below 5",)
    assert outcome.aggregate is not None
    assert "client-2" not in outcome.aggregate.survivors
    assert [event.client for event in heard if isinstance(event, ClientTrained)] == [
        f"client-{index}" for index in (1, 3, 4, 5)
    ]


def test_a_client_without_budget_is_a_dropout(make_federation: MakeFederation) -> None:
    federation = make_federation()
    poor = federation.clients["client-5"]
    federation.clients["client-5"] = replace(poor, budget=replace(poor.budget, epsilon=0.01))
    outcome = play(federation)
    assert outcome.aggregate is not None
    assert outcome.aggregate.survivors == tuple(f"client-{index}" for index in range(1, 5))
    assert "above its budget of 0.01" in outcome.refusals[0]


def test_a_client_whose_update_does_not_fit_the_codec_is_a_dropout(make_federation: MakeFederation) -> None:
    federation = make_federation(PLAIN)
    loud = federation.clients["client-3"]
    federation.clients["client-3"] = replace(loud, budget=replace(loud.budget, noise_multiplier=200.0))
    outcome = play(federation)
    assert outcome.aggregate is not None
    assert "client-3" not in outcome.aggregate.survivors
    assert "leaves the codec's range" in outcome.refusals[0]


@pytest.mark.parametrize("error", [dp.LedgerError("tampered"), KeyError("bug")])
def test_what_is_no_refusal_stops_the_run(
    error: Exception, make_federation: MakeFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Client, "open_session", fail)
    with pytest.raises(type(error)):
        play(make_federation())


def test_too_few_survivors_are_a_failed_round_not_an_error(make_federation: MakeFederation) -> None:
    federation = make_federation()
    outcome = play(federation, drop={"upload": frozenset({"client-1", "client-2", "client-3"})})
    assert outcome.aggregate is None
    assert outcome.failure
    assert "\n" not in outcome.failure


def test_everybody_refusing_is_a_failed_round(make_federation: MakeFederation) -> None:
    federation = make_federation()
    outcome = play(federation, plan_of(federation, min_cohort=2))
    assert outcome.aggregate is None
    assert len(outcome.refusals) == 5
    assert all(not client.ledger.history(name) for name, client in federation.clients.items())


def test_what_clients_remember_is_kept(make_federation: MakeFederation) -> None:
    federation = make_federation({"privacy.epsilon": "inf"})
    play(federation)
    for client in federation.clients.values():
        memory = load_memory(client.memory_file)
        assert len(memory.uploads) == 1
        assert memory.last_survivors == tuple(sorted(federation.clients))


def test_a_round_interrupted_at_the_very_end_can_be_played_again_with_the_same_bytes(
    make_federation: MakeFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = make_federation({"privacy.epsilon": "inf"})
    first = play(federation)
    again = play(federation)
    assert first.aggregate is not None
    assert again.aggregate is not None
    assert (first.aggregate.integers == again.aggregate.integers).all()
    assert again.transcript.to_bytes() == first.transcript.to_bytes()


def test_a_restarted_client_never_sends_the_same_release_under_other_masks(make_federation: MakeFederation) -> None:
    federation = make_federation()
    play(federation)
    restarted = {
        name: replace(client, randomness=replace(client.randomness, seed=Seed(99)))
        for name, client in federation.clients.items()
    }
    outcome = play(replace(federation, clients=restarted))
    assert outcome.aggregate is None
    assert "under other masks" in outcome.failure


@pytest.mark.parametrize(
    ("epsilon", "poisoners"), [("inf", ["client-2"]), (500, ["client-1", "client-2", "client-3", "client-4"])]
)
def test_updates_that_no_clipped_gradients_can_give_are_rejected(
    epsilon: float | str, poisoners: list[str], make_federation: MakeFederation
) -> None:
    federation = make_federation({"privacy.epsilon": epsilon})
    poison = OnTensors(strategy=Poison(federation.strategy, federation.trained.size))
    clients = {name: replace(federation.clients[name], strategy=poison) for name in poisoners}
    outcome = play(replace(federation, clients={**federation.clients, **clients}))
    assert outcome.aggregate is None
    assert "a client lied" in outcome.failure


def test_progress_is_told_in_order(make_federation: MakeFederation) -> None:
    heard: list[Event] = []
    play(make_federation(PLAIN), listen=heard.append)
    cohort = [f"client-{index}" for index in range(1, 6)]
    assert heard == [
        *(ClientTrained(round=1, client=name, position=at, cohort=5) for at, name in enumerate(cohort, 1)),
        PhaseStarted(name="secure sum", round=1),
    ]


def test_seconds_are_told_by_phase(make_federation: MakeFederation) -> None:
    outcome = play(make_federation(PLAIN))
    assert set(outcome.seconds) == {"training", "secure_sum"}
    assert all(value > 0 for value in outcome.seconds.values())
