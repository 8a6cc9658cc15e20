from collections.abc import Callable

import pytest

from fedpeft_secure.plans import RoundPlan, codec_clip
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.planning import plan_round

MakeFederation = Callable[..., Federation]


def plan_of(federation: Federation, **changes: int) -> RoundPlan:
    return plan_round(
        federation.config,
        run="run",
        round_number=changes.get("round_number", 1),
        attempt=changes.get("attempt", 0),
        state=federation.start,
        strategy=federation.strategy,
        budgets=federation.budgets,
    )


def test_a_plan_says_what_the_configuration_says(make_federation: MakeFederation) -> None:
    federation = make_federation({"secure_sum.bits": 20, "privacy.clip_norm": 0.5})
    plan, training = plan_of(federation, round_number=2, attempt=3), federation.config.training
    assert (plan.run, plan.round, plan.attempt) == ("run", 2, 3)
    assert plan.cohort == tuple(sorted(federation.config.client_names))
    assert plan.model_hash == federation.start.digest().hex()
    assert (plan.strategy, plan.protocol, plan.malicious_server) == ("fedsvd", "masked", True)
    assert (plan.local_steps, plan.sample_rate, plan.nominal_batch) == (1, 0.25, 10)
    assert (plan.optimizer, plan.learning_rate) == (training.optimizer, training.learning_rate)
    assert (plan.clip_norm, plan.codec_bits, plan.min_cohort) == (0.5, 20, 3)
    assert (plan.adversarial_fraction, plan.dropout_fraction) == (0.1, 0.1)
    assert plan.private


def test_the_largest_noise_of_anybody_decides_the_codecs_range(make_federation: MakeFederation) -> None:
    federation = make_federation({"privacy.per_client": {"client-2": 1.0}})
    loudest = max(budget.noise_multiplier for budget in federation.budgets)
    expected = codec_clip(federation.config.training, clip_norm=1.0, noise_multiplier=loudest)
    assert plan_of(federation).codec_clip == pytest.approx(expected)


def test_a_named_range_is_taken_as_it_is(make_federation: MakeFederation) -> None:
    assert plan_of(make_federation({"secure_sum.clip": 0.125})).codec_clip == 0.125


def test_without_privacy_the_plan_says_so(make_federation: MakeFederation) -> None:
    assert not plan_of(make_federation({"privacy.epsilon": "inf"})).private


def test_a_plan_is_public_it_depends_on_no_clients_data(make_federation: MakeFederation) -> None:
    """Other examples, dealt otherwise, give the very same plan."""
    one = make_federation()
    two = make_federation({"data.synthetic.examples": 400, "data.synthetic.quantity_skew": 0.5})
    assert plan_of(one) == plan_of(two)


def test_another_round_of_a_chosen_cohort(make_federation: MakeFederation) -> None:
    federation = make_federation({"clients.count": 8, "clients.per_round": 6})
    cohorts = {plan_of(federation, round_number=number).cohort for number in range(1, 12)}
    assert all(len(cohort) == 6 for cohort in cohorts)
    assert len(cohorts) > 1


def test_own_terms_stand_beside_what_holds_for_all(make_federation: MakeFederation) -> None:
    own = {"client-2": {"sample_rate": 0.125, "clip_norm": 0.5, "noise_multiplier": 8.0}, "client-3": 2.0}
    federation = make_federation({"privacy.per_client": own})
    plan = plan_of(federation)
    assert [terms.client for terms in plan.own_terms] == ["client-2"]
    mine = plan.for_client("client-2")
    assert (mine.sample_rate, mine.clip_norm, mine.nominal_batch, mine.own_terms) == (0.125, 0.5, 5.0, ())
    assert plan.for_client("client-3") == plan.model_copy(update={"own_terms": ()})
    loudest = codec_clip(federation.config.training, clip_norm=0.5, noise_multiplier=8.0, nominal_batch=5.0)
    assert plan.codec_clip == pytest.approx(loudest)
    assert RoundPlan.model_validate_json(plan.model_dump_json()) == plan


def test_who_has_left_is_not_in_the_cohort(make_federation: MakeFederation) -> None:
    federation = make_federation()
    plan = plan_round(
        federation.config,
        run="run",
        round_number=1,
        attempt=0,
        state=federation.start,
        strategy=federation.strategy,
        budgets=federation.budgets,
        gone=frozenset({"client-2"}),
    )
    assert plan.cohort == ("client-1", "client-3", "client-4", "client-5")
    assert plan.model_copy(update={"cohort": ()}) == plan_of(federation).model_copy(update={"cohort": ()})
