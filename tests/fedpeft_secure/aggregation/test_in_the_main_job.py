"""Every strategy in the main job: its own equation on the clients' true factors, whatever hides them on the way."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secagg
from fedpeft_secure import secure_sums
from fedpeft_secure.adapters import AdapterState, Role
from fedpeft_secure.aggregation import Reads, combine
from fedpeft_secure.aggregation.base_weights import base_name
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.round_strategy import Received
from fedpeft_secure.aggregation.server_optimizers import FedAvg
from fedpeft_secure.clients import client as client_module
from fedpeft_secure.clients import trainer as trainer_module
from fedpeft_secure.clients.client import Client
from fedpeft_secure.clients.memory import load_memory
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.plans import OwnTerms, RoundPlan, pack_next, unpack_next
from fedpeft_secure.server.federation import Federation
from tests.fedpeft_secure.aggregation.playing import play, rounds

MakeFederation = Callable[..., Federation]
RANKS = [4, 2, 4, 1, 4]
SETTINGS = {
    "privacy.epsilon": "inf",
    "peft.rank": 4,
    "training.local_steps": 2,
    "training.learning_rate": 0.5,
    "training.server_optimizer": "sgd",
    "training.server_learning_rate": 1.0,
    "data.synthetic.examples": 120,
    "data.synthetic.quantity_skew": 0.8,
}
MIXED = ["hetlora", "flexlora", "fedask", "product_sketch", "flora", "fedex"]
EQUAL = ["fedit", "lora_fair", "fedex", "product_sketch"]


def moved_start(federation: Federation) -> AdapterState:
    """Where neither B nor the head is zero, so that everything has a gradient."""
    rng = np.random.default_rng(0)
    roles = {entry.name: entry.role for entry in federation.backbone.spec.entries}
    return AdapterState(
        {
            name: value + (0 if roles[name] is Role.BASE else rng.normal(0, 0.2, value.shape))
            for name, value in federation.start.values.items()
        }
    )


def product(context: RoundContext, state: AdapterState, module: str) -> np.ndarray:
    factors = context.factors(module, state.values)
    base = base_name(module)
    return factors.product() + (state[base] if base in state.values else 0)


@pytest.mark.parametrize(("name", "ranks"), [*((name, RANKS) for name in MIXED), *((name, []) for name in EQUAL)])
def test_a_round_is_the_strategys_equation_on_the_true_factors(
    name: str, ranks: list[int], make_federation: MakeFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = {"aggregation.strategy": name, "allocation.ranks": ranks, "secure_sum.protocol": "plain"}
    federation = make_federation({**SETTINGS, **overrides, "secure_sum.bits": 32})
    finals: list[dict[str, np.ndarray]] = []
    original = trainer_module.train_locally

    def spy(backbone: Any, state: AdapterState, examples: Any, task: Any) -> Any:
        update = original(backbone, state, examples, task)
        finals.append({key: state[key] + update.delta.get(key, 0) for key in state.values})
        return update

    monkeypatch.setattr(trainer_module, "train_locally", spy)
    context, outcome = play(federation, moved_start(federation))
    assert outcome.received is not None, outcome.failure
    after, _ = federation.strategy.apply(outcome.received, context, federation.optimizer)
    weights = [len(federation.clients[client].examples) for client in context.plan.cohort]
    assert len(set(weights)) > 1
    if name == "fedex" and ranks:
        weights = [1] * len(ranks)  # slots that are left empty would show the counts
    for module in context.spec.modules:
        held = ranks or [4] * len(finals)
        own = [context.factors(module, final).in_slots(rank) for final, rank in zip(finals, held, strict=True)]
        pairs = [(factors.b, factors.a) for factors in own]
        b, a = combine(name, pairs, weights=weights, rank=4, seed=context.seed)
        assert np.allclose(product(context, after, module), b @ a, atol=1e-5)
        moved = np.abs(product(context, after, module) - product(context, context.state, module)).max()
        assert moved > 2e-4  # far more than the tolerance


@pytest.mark.parametrize(
    "name", ["rolora", "hetlora", "fedex", "lora_fair", "fedask", "product_sketch", "rank_slots", "fedsvd"]
)
def test_masks_change_nothing(name: str, make_federation: MakeFederation) -> None:
    ranks = [] if name in ("rolora", "lora_fair") else RANKS
    settings = {**SETTINGS, "aggregation.strategy": name, "allocation.ranks": ranks, "training.local_steps": 1}
    federations = [make_federation({**settings, "secure_sum.protocol": protocol}) for protocol in ("plain", "masked")]
    plain, masked = (rounds(federation, moved_start(federation), 2) for federation in federations)
    assert all(np.allclose(plain[key], masked[key], atol=1e-6) for key in plain.values)


@pytest.mark.parametrize("name", ["rolora", "flexlora", "fedask", "product_sketch", "rank_slots", "fedex"])
def test_under_privacy_everything_sent_comes_from_noised_gradients(name: str, make_federation: MakeFederation) -> None:
    """A round charges the steps of training and nothing else, two sums included."""
    federation = make_federation({**SETTINGS, "privacy.epsilon": 8.0, "aggregation.strategy": name})
    state = rounds(federation, moved_start(federation), 2)
    assert all(np.isfinite(value).all() for value in state.values.values())
    charges = federation.ledger.history("client-1")
    assert [(charge.release.round, charge.event.steps) for charge in charges] == [(1, 2), (2, 2)]


def test_rank_slots_average_each_slot_over_those_who_trained_it(
    make_federation: MakeFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SETTINGS, "aggregation.strategy": "rank_slots", "allocation.ranks": [1, 2, 3, 1, 4]}
    federation = make_federation({**settings, "secure_sum.protocol": "plain", "secure_sum.bits": 32})
    deltas: list[dict[str, np.ndarray]] = []
    original = trainer_module.train_locally

    def spy(*args: Any) -> Any:
        update = original(*args)
        deltas.append(dict(update.delta))
        return update

    monkeypatch.setattr(trainer_module, "train_locally", spy)
    context, outcome = play(federation, moved_start(federation))
    assert outcome.received is not None, outcome.failure
    after, _ = federation.strategy.apply(outcome.received, context, federation.optimizer)
    for module in context.spec.modules:
        picks = federation.strategy.picks(context, module)  # type: ignore[attr-defined]
        name = context.spec.name_of(module, Role.LORA_B)
        for slot in range(4):
            share = [slot in picks[client] for client in context.plan.cohort]
            assert np.count_nonzero(share) >= context.plan.min_cohort or not any(share)
            mean = sum(s * delta[name][:, slot] for s, delta in zip(share, deltas, strict=True)) / max(1, sum(share))
            assert np.allclose(after[name][:, slot] - context.state[name][:, slot], mean, atol=1e-5)


@pytest.mark.parametrize("name", ["rank_slots", "fedex"])
def test_nobodys_example_count_is_a_difference_of_what_the_slots_hold(
    name: str, make_federation: MakeFederation
) -> None:
    """Slots that different clients fill are sums over different clients: weighed by examples they would tell counts."""
    federation = make_federation({**SETTINGS, "aggregation.strategy": name, "allocation.ranks": RANKS})
    _, outcome = play(federation, moved_start(federation))
    assert outcome.aggregate is not None, outcome.failure
    assert outcome.aggregate.total_weight == len(RANKS)  # and not the number of examples
    equal = make_federation({**SETTINGS, "aggregation.strategy": name})
    assert equal.agreed.weighing == "examples"  # where everybody fills everything, the total is all that shows


def test_a_module_that_few_tune_moves_by_their_share(make_federation: MakeFederation) -> None:
    """FedEx sends whole factors where parts differ: those of clients that do not tune a module are what they were."""
    settings = {**SETTINGS, "aggregation.strategy": "fedex", "secure_sum.protocol": "plain", "secure_sum.bits": 32}
    federation = make_federation(settings)
    state = moved_start(federation)
    plan = federation.agreed.model_copy(
        update={
            "model_hash": state.digest().hex(),
            "weighing": "uniform",
            "own_terms": tuple(
                OwnTerms(client=client, sample_rate=0.5, clip_norm=1.0, nominal_batch=8, layers=1)
                for client in federation.agreed.cohort[:2]
            ),
        }
    )
    context = RoundContext(plan=plan, spec=federation.backbone.spec, state=state)
    strategy, layout = federation.strategy, federation.strategy.layout(context, ())
    changes = {
        client: {name: 0.1 * np.ones_like(state[name]) for name in strategy.start(context, client).trained.names}
        for client in plan.cohort
    }
    vectors = [strategy.encode(changes[client], context, client, layout) for client in plan.cohort]
    received = Received(means=(np.mean(vectors, axis=0),), survivors=plan.cohort)
    for share in (1.0, 0.25):
        after, _ = strategy.apply(received, context, FedAvg(learning_rate=share))
        for module in context.spec.modules:
            before = product(context, state, module)
            own = [
                context.factors(module, {**state.values, **{n: state[n] + d for n, d in changes[client].items()}})
                for client in plan.cohort
            ]
            wanted = (1 - share) * before + share * np.mean([factors.product() for factors in own], axis=0)
            assert np.allclose(product(context, after, module), wanted, atol=1e-5)
            assert not np.allclose(before, wanted, atol=1e-2)


@pytest.mark.parametrize("name", ["flexlora", "fedex", "flora", "lora_fair"])
def test_a_model_without_a_head_takes_every_strategy(
    name: str, make_federation: MakeFederation, tiny_llama: Path
) -> None:
    """One that answers in words has factors and nothing else."""
    federation = make_federation(
        {
            **SETTINGS,
            "model.name": str(tiny_llama),
            "aggregation.strategy": name,
            "secure_sum.protocol": "plain",
            "training.local_steps": 1,
        }
    )
    assert {entry.role for entry in federation.trained.entries} == {Role.LORA_A, Role.LORA_B}
    before = moved_start(federation)
    context, outcome = play(federation, before)
    assert outcome.received is not None, (outcome.failure, outcome.refusals)
    after, _ = federation.strategy.apply(outcome.received, context, federation.optimizer)
    assert after.digest() != before.digest()


def test_folding_leaves_the_model_as_it_is(make_federation: MakeFederation) -> None:
    """A client trains beside the slots that it has not: its first logits are those of the whole adapter."""
    federation = make_federation(
        {**SETTINGS, "aggregation.strategy": "rank_slots", "allocation.ranks": [1, 2, 3, 1, 4]}
    )
    state = moved_start(federation)
    context = RoundContext(plan=federation.agreed, spec=federation.backbone.spec, state=state)
    start = federation.strategy.start(context, "client-1")
    assert any(name.endswith(".base_delta") for name in start.state.values)
    backbone, indices = federation.backbone, np.arange(4)
    logits = []
    for values in (state, start.state, state):
        backbone.load(values)
        (batch,) = backbone.batches(federation.test, indices, batch_size=4)
        logits.append(backbone.logits(backbone.model, batch).detach().numpy())
    assert np.allclose(logits[0], logits[1], atol=1e-5)
    assert (logits[0] == logits[2]).all()


@pytest.mark.parametrize("protocol", ["helper", "bfv", "ckks"])
def test_both_sums_through_a_third_party(protocol: str, make_federation: MakeFederation) -> None:
    settings = {**SETTINGS, "aggregation.strategy": "fedask", "secure_sum.server": "curious"}
    federation = make_federation({**settings, "secure_sum.protocol": protocol})
    plain = make_federation({**settings, "secure_sum.protocol": "plain"})
    hidden, clear = (play(parties, moved_start(parties))[1].received for parties in (federation, plain))
    assert hidden is not None
    assert clear is not None
    assert all(np.allclose(one, other, atol=1e-6) for one, other in zip(hidden.means, clear.means, strict=True))


def test_whoever_vanishes_between_two_sums_fails_the_attempt(make_federation: MakeFederation) -> None:
    federation = make_federation({**SETTINGS, "aggregation.strategy": "fedask"})
    federation.clients["client-3"] = Vanishing.like(federation.clients["client-3"])
    _, outcome = play(federation, moved_start(federation))
    assert (outcome.received, outcome.aggregate) == (None, None)
    assert outcome.failure == "client-3 vanished between the sums of fedask; try again without it"
    assert "client-3: gone" in outcome.refusals


def test_a_second_sum_of_another_round_is_refused(make_federation: MakeFederation) -> None:
    federation = make_federation({**SETTINGS, "aggregation.strategy": "fedask"})
    state = moved_start(federation)
    context, outcome = play(federation, state)
    request = outcome.transcript.between(sender="server", phase="continue")[0].payload
    client = federation.clients["client-1"]
    client.opened = None
    with pytest.raises(PolicyError, match="has not answered round 1"):
        client.open_next_session(request)
    other = context.plan.model_copy(update={"learning_rate": 0.1})
    client.opened = client_module.OpenRound(context=replace(context, plan=other), delta={})
    with pytest.raises(PolicyError, match="it is not the round it answered"):
        client.open_next_session(request)


@pytest.mark.parametrize("epsilon", [8.0, "inf"])
def test_a_lying_server_cannot_subtract_two_sums_of_one_update(
    epsilon: float | str, make_federation: MakeFederation
) -> None:
    """Leaving one client out of the second sum would show its update, noise and all."""
    six = {"clients.count": 6, "clients.per_round": 6}
    federation = make_federation({**SETTINGS, **six, "aggregation.strategy": "fedask", "privacy.epsilon": epsilon})
    _, outcome = play(federation, moved_start(federation))
    request = outcome.transcript.between(sender="server", phase="continue")[0].payload
    plan, means = unpack_next(request)
    fewer = plan.model_copy(update={"cohort": plan.cohort[:-1]})
    for client in fewer.cohort:
        with pytest.raises((PolicyError, secagg.ProtocolError)) as refused:
            _unmask_alone(federation, client, pack_next(fewer, means), fewer)
        assert "fewer" in str(refused.value) or "already answered" in str(refused.value)


def _unmask_alone(federation: Federation, client: str, request: bytes, plan: RoundPlan) -> None:
    """Opens the session; without noise the refusal may wait until the survivors are named."""
    party = federation.clients[client]
    party.open_next_session(request)
    sums = secure_sums.sum_plan(plan, dim=1, directory=federation.keys.directory)
    load_memory(party.memory_file).with_survivors(sums, plan.cohort)


def test_a_restarted_client_repeats_its_update_in_simulation_only(make_federation: MakeFederation) -> None:
    federation = make_federation({**SETTINGS, "aggregation.strategy": "fedask", "secure_sum.protocol": "plain"})
    state = moved_start(federation)
    _, first = play(federation, state)
    _, again = play(federation, state)  # every contribution is in the ledger, nobody has its update any more
    assert first.received is not None
    assert again.received is not None
    assert all((one == other).all() for one, other in zip(first.received.means, again.received.means, strict=True))
    assert len(federation.ledger.history("client-1")) == 1
    assert federation.strategy.reads is Reads.TWO_SUMS


class Vanishing(Client):
    """Answers the first sum only."""

    @classmethod
    def like(cls, client: Client) -> "Vanishing":
        return cls(**{name: getattr(client, name) for name in Client.__slots__})

    def open_next_session(self, request: bytes) -> Any:
        raise PolicyError("gone")
