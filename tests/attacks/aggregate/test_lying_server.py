"""A server that lies about the model, against the run's own clients and masked sum."""

from collections.abc import Iterator

import numpy as np
import pytest

import dp
from attacks.aggregate import LyingServer, play_lying_server
from attacks.aggregate.lying_server import LieOutcome, without_gradients
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.events import ignore
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.server.federation import Federation, build_federation
from fedpeft_secure.server.planning import plan_round
from tests.fedpeft_secure.conftest import MakeConfig, tiny_bert, tiny_config

__all__ = ["tiny_bert", "tiny_config"]


@pytest.fixture
def federation(tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    config = tiny_config({"privacy.epsilon": "inf", "aggregation.strategy": "fedit", "training.sample_rate": 1.0})
    with dp.Ledger.open(path) as ledger:
        yield build_federation(config, run="run", ledger=ledger, ledger_path=path, listen=ignore)


def play(federation: Federation, lie: LyingServer) -> tuple[LieOutcome, RoundPlan]:
    rng = np.random.default_rng(0)
    moved = {
        name: value + 0.2 * rng.normal(size=value.shape).astype(np.float32)
        for name, value in federation.start.values.items()
    }
    honest = AdapterState(moved)
    plan = plan_round(
        federation.config,
        run="run",
        round_number=1,
        attempt=0,
        state=honest,
        strategy=federation.strategy,
        budgets=federation.budgets,
    )
    crafted = without_gradients(honest)
    return play_lying_server(federation, plan, lie, target="client-2", honest=honest, crafted=crafted), plan


def test_an_honest_server_gets_its_sum(federation: Federation) -> None:
    outcome, plan = play(federation, LyingServer.HONEST)
    assert outcome.refusals == ()
    assert outcome.aggregate is not None
    assert outcome.aggregate.survivors == plan.cohort


def test_a_model_other_than_the_plans_is_refused_by_whoever_gets_it(federation: Federation) -> None:
    outcome, _ = play(federation, LyingServer.HIDDEN)
    assert outcome.aggregate is None
    refused = [line for line in outcome.refusals if "sent a model other than the one that its plan names" in line]
    assert len(refused) == 4


def test_two_plans_never_meet_in_one_sum(federation: Federation) -> None:
    """The target follows the plan of its own model: its masks fit nobody else's, and nothing of it is opened."""
    outcome, _ = play(federation, LyingServer.TWO_PLANS)
    assert outcome.aggregate is None or "client-2" not in outcome.aggregate.survivors


def test_one_crafted_model_for_all_is_not_noticed(federation: Federation) -> None:
    """The row of the threat model that says so: the sum comes, of what everybody computed at the crafted model."""
    outcome, plan = play(federation, LyingServer.ONE_FOR_ALL)
    assert outcome.refusals == ()
    assert outcome.aggregate is not None
    assert outcome.aggregate.survivors == plan.cohort
    factors = [entry for entry in federation.trained.entries if "lora" in entry.name]
    assert np.abs(outcome.aggregate.mean[: sum(entry.size for entry in factors[:1])]).max() < 1e-3
