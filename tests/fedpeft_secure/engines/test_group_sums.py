from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

import secagg
from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.aggregation import Strategy
from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.on_tensors import OnTensors
from fedpeft_secure.engines.in_process import run_round
from fedpeft_secure.engines.rounds import RoundOutcome
from fedpeft_secure.events import ignore
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.secure_sums import sum_plan
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.sum_groups import plans_of_sums
from tests.fedpeft_secure.engines.test_in_process import plan_of

MakeFederation = Callable[..., Federation]
TWELVE: dict[str, Any] = {
    "clients.count": 12,
    "clients.per_round": 12,
    "privacy.epsilon": "inf",
    "training.sample_rate": 0.5,
    "aggregation.groups": 4,
    "aggregation.robust": "median",
    "aggregation.weighing": "uniform",
    "secure_sum.server": "curious",
    "secure_sum.adversarial_fraction": 0.05,
}
PLAIN = {**TWELVE, "secure_sum.protocol": "plain"}
HELPER = {**TWELVE, "secure_sum.protocol": "helper", "secure_sum.server": "malicious"}
MASKED = {**TWELVE, "aggregation.groups": 3}


@dataclass(frozen=True)
class Lie:
    """A strategy that sends a given vector."""

    honest: Strategy
    vector: np.ndarray = field(repr=False)
    name: str = "fedit"
    reads: Reads = Reads.SUM

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        return self.honest.trainable(spec)

    def encode(self, delta: object, spec: AdapterSpec) -> np.ndarray:
        return self.vector


def play(
    federation: Federation, plan: RoundPlan | None = None, *, drop: Mapping[str, frozenset[str]] | None = None
) -> RoundOutcome:
    return run_round(
        plan or plan_of(federation),
        federation.start,
        federation.clients,
        strategy=federation.strategy,
        spec=federation.backbone.spec,
        directory=federation.keys.directory,
        key_holder=federation.key_holder,
        drop=drop or {},
        listen=ignore,
    )


def groups_of(federation: Federation) -> tuple[tuple[str, ...], ...]:
    return tuple(plan.cohort for plan in plans_of_sums(plan_of(federation), federation.keys.directory))


def mean_of(outcome: RoundOutcome) -> np.ndarray:
    assert outcome.received is not None, outcome.failure
    return outcome.received.means[0]


def sent(federation: Federation, outcome: RoundOutcome) -> Mapping[str, np.ndarray]:
    """What every client of a plain round sent, read by the plan of its group."""
    return {
        name: secagg.plain.read_contribution(
            outcome.transcript,
            sum_plan(plan, dim=federation.trained.size, directory=federation.keys.directory),
            name,
        )
        for plan in plans_of_sums(plan_of(federation), federation.keys.directory)
        for name in plan.cohort
    }


def lying(federation: Federation, *liars: str) -> Federation:
    """Liars send six times as much as anybody honest may: in a sum of twelve that is not too long."""
    limit = plan_of(federation).max_norm(federation.trained.size)
    assert limit is not None
    vector = np.full(federation.trained.size, 6 * limit / np.sqrt(federation.trained.size))
    lie = OnTensors(strategy=Lie(federation.strategy, vector))
    return replace(
        federation,
        clients={
            name: replace(client, strategy=lie) if name in liars else client
            for name, client in federation.clients.items()
        },
    )


def test_the_server_gets_the_median_of_the_groups_means(make_federation: MakeFederation) -> None:
    federation = make_federation(PLAIN)
    outcome = play(federation)
    vectors, groups = sent(federation, outcome), groups_of(federation)
    means = [np.mean([vectors[name] for name in group], axis=0) for group in groups]
    assert mean_of(outcome) == pytest.approx(np.median(means, axis=0), abs=1e-12)
    assert [(group.members, group.survivors, group.failure) for group in outcome.groups] == [
        (group, group, "") for group in groups
    ]
    assert outcome.received is not None
    assert outcome.received.survivors == plan_of(federation).cohort
    assert outcome.aggregate is None, "there is no one sum"


@pytest.mark.parametrize("overrides", [MASKED, HELPER], ids=["masked", "helper"])
def test_secure_sums_of_groups_give_what_plain_ones_do_round_after_round(
    overrides: dict[str, Any], make_federation: MakeFederation
) -> None:
    hidden, open_ = make_federation(overrides), make_federation(PLAIN)
    vectors, groups = sent(open_, play(open_)), groups_of(hidden)
    expected = np.median([np.mean([vectors[name] for name in group], axis=0) for group in groups], axis=0)
    assert np.abs(mean_of(play(hidden)) - expected).max() < 4 * plan_of(hidden).codec_clip / 2**15
    if hidden.key_holder is not None:
        assert set(hidden.key_holder.memory.last_survivors) == set(groups_of(hidden))


def test_a_group_that_loses_too_many_is_left_out_and_a_second_one_costs_the_round(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(PLAIN)
    first, second, *others = groups_of(federation)
    outcome = play(federation, drop={"upload": frozenset(first[:1])})
    assert outcome.received is not None
    assert outcome.received.survivors == tuple(sorted({*second, *others[0], *others[1]}))
    assert "only 2 clients uploaded" in outcome.groups[0].failure
    failed = play(make_federation(PLAIN), drop={"upload": frozenset({first[0], second[0]})})
    assert failed.received is None
    assert failed.failure.startswith("only 2 of 4 groups have a sum, 3 must: only 2 clients uploaded")
    assert "\n" not in failed.failure


def test_a_liar_moves_the_plain_mean_and_hardly_the_median(make_federation: MakeFederation) -> None:
    one_sum = {**PLAIN, "aggregation.groups": 1, "aggregation.robust": "off"}
    moved = {}
    for name, overrides in (("mean", one_sum), ("median", PLAIN)):
        honest = mean_of(play(make_federation(overrides)))
        federation = lying(make_federation(overrides), "client-5")
        moved[name] = float(np.linalg.norm(mean_of(play(federation)) - honest))
        limit = plan_of(federation).max_norm(federation.trained.size)
    assert limit is not None
    assert 5 * limit / 12 < moved["mean"] < 7 * limit / 12
    assert moved["median"] < moved["mean"] / 2


def test_a_vandal_loses_its_group_and_no_longer_the_round(make_federation: MakeFederation) -> None:
    loud = np.full(make_federation(PLAIN).trained.size, 0.99)
    for overrides, failed in (({**PLAIN, "aggregation.groups": 1, "aggregation.robust": "off"}, True), (PLAIN, False)):
        federation = make_federation(overrides)
        vandal = replace(federation.clients["client-5"], strategy=OnTensors(strategy=Lie(federation.strategy, loud)))
        outcome = play(replace(federation, clients={**federation.clients, "client-5": vandal}))
        assert (outcome.received is None) == failed
        assert failed or [bool(group.failure) for group in outcome.groups].count(True) == 1


def test_a_plan_with_other_groups_than_agreed_is_refused(make_federation: MakeFederation) -> None:
    federation = make_federation(PLAIN)
    for change in ({"sum_groups": 2}, {"robust": "off"}, {"trimmed_share": 0.1}):
        outcome = play(federation, plan_of(federation, **change))
        assert outcome.received is None
        assert len(outcome.refusals) == 12
        assert "is not what was agreed for this run" in outcome.refusals[0]
