import math
from collections.abc import Callable

import numpy as np
import pytest

import dp
import secagg
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.clients.trainer import Trained
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.errors import RunFailedError
from fedpeft_secure.plans import unpack_request
from fedpeft_secure.secure_sums import sum_plan
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.replay import ReplayedRound, replay_round

MakeFederation = Callable[..., Federation]


def batches(*counts: int) -> dict[str, LabelledTexts]:
    words = ("good", "bad", "long", "short", "old", "new")
    return {
        f"client-{index}": LabelledTexts(
            texts=tuple(f"a {words[(index + row) % 6]} film" for row in range(count)),
            labels=np.arange(count) % 2,
        )
        for index, count in enumerate(counts, start=1)
    }


def replay(federation: Federation, **changes: object) -> ReplayedRound:
    arguments = {"name": "one", "texts": batches(2, 1), "private": False, "protocol": "plain", **changes}
    return replay_round(federation, federation.start, **arguments)  # type: ignore[arg-type]


def vectors(federation: Federation, replayed: ReplayedRound) -> dict[str, np.ndarray]:
    sums = sum_plan(replayed.plan, dim=federation.trained.size, directory=federation.keys.directory)
    return {
        name: secagg.plain.read_contribution(replayed.transcript, sums, name) for name in replayed.aggregate.survivors
    }


def test_exactly_the_given_clients_take_part(make_federation: MakeFederation) -> None:
    replayed = replay(make_federation())
    assert replayed.plan.cohort == replayed.aggregate.survivors == ("client-1", "client-2")


@pytest.mark.parametrize(("private", "divisor"), [(False, 1), (True, 2)])
def test_every_text_is_in_the_batch(private: bool, divisor: int, make_federation: MakeFederation) -> None:
    replayed = replay(make_federation(), private=private)
    assert (replayed.plan.sample_rate, replayed.plan.nominal_batch) == (1.0, divisor)


@pytest.mark.parametrize("private", [False, True])
def test_everybody_trains_the_part_that_the_run_dealt(private: bool, make_federation: MakeFederation) -> None:
    """Adaptive allocation would deal other parts to the replay's batches, noise and cohort."""
    devices = {f"client-{index}": {"memory_mib": 500, "gflops": 0.3 if index == 1 else 50} for index in range(1, 6)}
    federation = make_federation(
        {
            "allocation.strategy": "adaptive",
            "allocation.devices": devices,
            "allocation.round_seconds": 0.1,
            "training.physical_batch": 4,
            "training.local_steps": 4,
        }
    )
    assert federation.agreed.allotment("client-1").local_steps < 4
    replayed = replay(federation, private=private)
    for client in ("client-1", "client-2"):
        assert replayed.plan.allotment(client) == federation.agreed.allotment(client)


def test_many_clipped_gradients_that_agree_stay_within_the_codec(make_federation: MakeFederation) -> None:
    federation = make_federation({"privacy.epsilon": 500, "privacy.clip_norm": 0.01})
    same = {name: LabelledTexts(texts=("a good film",) * 40, labels=np.ones(40, int)) for name in batches(1, 1)}
    assert replay(federation, texts=same, private=True).aggregate.survivors == ("client-1", "client-2")


def test_clients_start_from_the_given_adapter(make_federation: MakeFederation) -> None:
    federation = make_federation()
    replayed = replay(federation)
    request = replayed.transcript.between(sender=secagg.SERVER, recipient="client-1")[0]
    _, state = unpack_request(request.payload, federation.backbone.spec)
    assert state.digest() == federation.start.digest() == replayed.before.digest()


def test_nothing_of_the_run_changes(make_federation: MakeFederation) -> None:
    federation = make_federation()
    replay(federation, private=True)
    assert federation.ledger.clients() == ()
    assert not any(client.memory_file.exists() for client in federation.clients.values())


def test_a_replay_trains_here_whoever_trains_the_runs_clients(make_federation: MakeFederation) -> None:
    """Other processes hold the run's own examples: they would train on those, and keep values for the run."""
    federation = make_federation({"aggregation.strategy": "fedsa"})
    here = vectors(federation, replay(federation))

    class Nobody:
        def begin(self, client: str, request: bytes) -> None:
            pytest.fail(f"{client} was sent elsewhere")

        def train(self, client: str, context: RoundContext) -> Trained:
            pytest.fail(f"{client} was trained elsewhere")

    for client in federation.clients.values():
        client.elsewhere = Nobody()
    again = vectors(federation, replay(federation))
    assert all(np.array_equal(here[name], again[name]) for name in here)
    assert not any(client.own.folder.exists() for client in federation.clients.values())


def test_the_same_name_repeats_and_another_draws_anew(make_federation: MakeFederation) -> None:
    federation = make_federation()
    first, again, other = (
        vectors(federation, replay(federation, name=name, private=True))["client-1"] for name in ("a", "a", "b")
    )
    assert (first == again).all()
    assert not np.allclose(first, other)


def test_a_private_replay_has_the_runs_noise(make_federation: MakeFederation) -> None:
    federation = make_federation()
    sent = vectors(federation, replay(federation, private=True))
    plain = vectors(federation, replay(federation, private=False))
    noise = np.concatenate([sent[name] for name in sent])
    stddev = federation.budgets[0].noise_multiplier * federation.config.privacy.clip_norm / 2  # the larger batch
    assert noise.std() == pytest.approx(stddev, rel=0.15)
    assert max(np.linalg.norm(vector) for vector in plain.values()) <= 1.01 * federation.config.privacy.clip_norm


def test_a_replay_may_go_beyond_what_is_left_of_the_budget(make_federation: MakeFederation) -> None:
    federation = make_federation({"privacy.epsilon": 0.5})
    event = dp.SampledGaussian(noise_multiplier=federation.budgets[0].noise_multiplier, sample_rate=1.0, steps=1)
    assert dp.compose((event,), delta=1e-5, accountant="rdp") > 0.5
    assert math.isfinite(np.linalg.norm(vectors(federation, replay(federation, private=True))["client-1"]))


def test_the_runs_own_protocol_can_be_replayed(make_federation: MakeFederation) -> None:
    federation = make_federation()
    texts = batches(1, 2, 1, 1, 1)
    masked = replay(federation, texts=texts, protocol="masked").aggregate
    plain = replay(federation, texts=texts).aggregate
    assert np.allclose(masked.mean, plain.mean, atol=1e-9)


def test_a_cohort_that_the_protocol_cannot_hide_fails(make_federation: MakeFederation) -> None:
    with pytest.raises((RunFailedError, secagg.PlanError), match="clients"):
        replay(make_federation(), protocol="masked")
