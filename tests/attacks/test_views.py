import numpy as np
import pytest

import secagg
from attacks import Granularity, ThreatModel, ViewTooWeakError
from attacks.suite.case import Case, open_case, opened_sum
from attacks.views import noise_stddev, rounding_stddev
from fedpeft_secure.engines.in_process import run_round
from fedpeft_secure.events import ignore
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.server.job import TrainedRun
from fedpeft_secure.sum_groups import plans_of_sums
from tests.attacks.suite.conftest import open_run, private_run, tiny_bert, tiny_config
from tests.fedpeft_secure.conftest import MakeFederation, make_federation

__all__ = ["make_federation", "open_run", "private_run", "tiny_bert", "tiny_config"]


@pytest.fixture
def private_case(private_run: TrainedRun) -> Case:
    return open_case(private_run)


@pytest.fixture
def open_case_(open_run: TrainedRun) -> Case:
    return open_case(open_run)


def test_a_masked_run_shows_the_sum_and_refuses_a_target(private_case: Case) -> None:
    view = private_case.read("client-1")
    assert (view.name, view.granularity) == ("sum-dp", Granularity.SUM)
    assert view.contributors == private_case.plan.cohort
    individual = ThreatModel(target="client-1")
    with pytest.raises(ViewTooWeakError, match="hidden by the masked sum"):
        private_case._view(private_case.federation, private_case.transcript, individual)


def test_a_plain_run_shows_each_message(open_case_: Case) -> None:
    view = open_case_.read("client-2")
    assert (view.name, view.contributors) == ("individual", ("client-2",))
    assert view.noise_stddev == 0.0
    assert 0 < np.abs(view.observed).max() <= view.plan.clip_norm


@pytest.mark.parametrize("name", ["individual", "individual-dp", "sum", "sum-dp"])
def test_a_replay_gives_the_view_that_was_asked_for(private_case: Case, name: str) -> None:
    texts = {
        client: private_case.federation.data.clients[index].take([0])
        for index, client in enumerate(private_case.plan.cohort)
    }
    view = private_case.replay(name, texts, client="client-1", name="test")  # type: ignore[arg-type]
    assert view.name == name
    assert len(view.contributors) == (1 if name.startswith("individual") else 5)
    measured = float(np.std(view.observed))
    if name.endswith("-dp"):
        assert measured == pytest.approx(view.noise_stddev, rel=0.15)
    else:
        assert view.noise_stddev == 0.0


def test_noise_of_a_mean_shrinks_with_its_contributors(private_case: Case, plan: RoundPlan) -> None:
    private = plan.model_copy(update={"private": True, "nominal_batch": 4, "local_steps": 9})
    assert noise_stddev(private, 2.0) == pytest.approx(2.0 / 4 * 3)
    assert noise_stddev(plan, 2.0) == 0.0
    view = private_case.read("client-1")
    one = noise_stddev(view.plan, private_case.federation.budgets[0].noise_multiplier)
    assert view.noise_stddev == pytest.approx(one / 5**0.5)


@pytest.mark.parametrize(("weight", "max_weight"), [(1, 1), (1, 4), (3, 4)])
def test_the_rounding_is_as_large_as_it_says(weight: int, max_weight: int) -> None:
    codec = secagg.FixedPoint(clip=1.0, bits=10, max_weight=max_weight)
    rng = np.random.default_rng(0)
    vector = rng.uniform(-1, 1, size=20_000)
    layout = codec.layout(dim=vector.size, clients=1, summed_weights=False)
    encoded = codec.encode(vector, layout=layout, weight=weight, rng=rng)
    decoded = codec.decode(codec.centred(encoded.residues[0], layout=layout), total_weight=weight)
    measured = float(np.sqrt(np.mean((decoded - vector) ** 2)))
    assert rounding_stddev(codec, contributors=1, total_weight=weight) == pytest.approx(measured, rel=0.03)


@pytest.mark.parametrize(("protocol", "groups"), [("masked", 3), ("helper", 4), ("plain", 4)])
def test_where_groups_have_sums_a_view_is_of_one_of_them(
    protocol: str, groups: int, make_federation: MakeFederation
) -> None:
    federation = make_federation(
        {
            "clients.count": 12,
            "clients.per_round": 12,
            "aggregation.groups": groups,
            "aggregation.robust": "median",
            "secure_sum.protocol": protocol,
            "secure_sum.server": "curious",
            "secure_sum.adversarial_fraction": 0.05,
        }
    )
    plans = plans_of_sums(federation.agreed, federation.keys.directory)
    drop = {"upload": frozenset(plans[0].cohort[:1])} if protocol == "plain" else {}
    outcome = run_round(
        federation.agreed,
        federation.start,
        federation.clients,
        strategy=federation.strategy,
        spec=federation.backbone.spec,
        directory=federation.keys.directory,
        key_holder=federation.key_holder,
        drop=drop,
        listen=ignore,
    )
    assert outcome.received is not None
    summed = plans[1:] if drop else plans
    assert opened_sum(federation, outcome.transcript, federation.agreed) == summed[0]
    if protocol == "plain":
        return
    views = [
        Case(
            federation=federation, transcript=outcome.transcript, plan=plan, before=federation.start, shows_text=True
        ).read(plan.cohort[-1])
        for plan in plans
    ]
    assert [view.contributors for view in views] == [plan.cohort for plan in plans]
    sigma = federation.budgets[0].noise_multiplier
    assert views[0].noise_stddev == pytest.approx(noise_stddev(plans[0], sigma) / np.sqrt(12 / groups))
    median = np.median([view.observed for view in views], axis=0)
    assert median == pytest.approx(outcome.received.means[0], abs=1e-12)
