import math
from collections.abc import Callable

import pytest

from fedpeft_secure import Config
from fedpeft_secure.budgets import ClientBudget
from fedpeft_secure.clients.policy import AGREED, ClientPolicy, simulated_policy
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.plans import GroupRate, OwnTerms, RoundPlan
from fedpeft_secure.server.planning import plan_round

ME = "client-3"
POLICY = ClientPolicy(
    min_cohort=3,
    adversarial_fraction=0.1,
    max_epsilon=8.0,
    protocols=frozenset({"masked"}),
    trusts_server=False,
)


def budget(epsilon: float = 8.0) -> ClientBudget:
    return ClientBudget(
        client=ME,
        epsilon=epsilon,
        delta=1e-5,
        noise_multiplier=1.0,
        sample_rate=0.25,
        steps=2,
        epsilon_planned=min(epsilon, 8.0),
    )


def test_a_plan_within_the_terms_passes(make_plan: Callable[..., RoundPlan]) -> None:
    POLICY.check(make_plan(), client=ME, budget=budget())
    POLICY.check(make_plan(min_cohort=4, adversarial_fraction=0.2), client=ME, budget=budget(1.0))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cohort": ("client-1", "client-2")}, "the plan's cohort does not include this client"),
        ({"protocol": "plain"}, "protocol 'plain' is not allowed"),
        ({"min_cohort": 2}, "min_cohort 2 is below 3"),
        ({"adversarial_fraction": 0.0}, "adversarial_fraction 0 is below 0.1"),
        ({"malicious_server": False}, "the plan trusts the server, this client does not"),
        ({"private": False}, "the plan and this client's budget disagree on privacy"),
    ],
)
def test_every_term_is_checked(change: dict[str, object], reason: str, make_plan: Callable[..., RoundPlan]) -> None:
    with pytest.raises(PolicyError) as caught:
        POLICY.check(make_plan(**change), client=ME, budget=budget())
    assert str(caught.value) == f"client-3 refuses round 1: {reason}"


def test_a_budget_above_the_clients_own_limit_is_refused(make_plan: Callable[..., RoundPlan]) -> None:
    with pytest.raises(PolicyError, match=r"ε = 8\.5 is above 8"):
        POLICY.check(make_plan(), client=ME, budget=budget(8.5))


def test_a_client_without_a_budget_refuses_a_private_plan(make_plan: Callable[..., RoundPlan]) -> None:
    generous = ClientPolicy(
        min_cohort=3,
        adversarial_fraction=0.1,
        max_epsilon=math.inf,
        protocols=frozenset({"masked"}),
        trusts_server=False,
    )
    with pytest.raises(PolicyError, match="disagree on privacy"):
        generous.check(make_plan(private=True), client=ME, budget=budget(math.inf))
    generous.check(make_plan(private=False), client=ME, budget=budget(math.inf))


def test_who_trusts_the_server_accepts_either_plan(make_plan: Callable[..., RoundPlan]) -> None:
    trusting = ClientPolicy(
        min_cohort=3,
        adversarial_fraction=0.1,
        max_epsilon=8.0,
        protocols=frozenset({"masked"}),
        trusts_server=True,
    )
    for malicious in (True, False):
        trusting.check(make_plan(malicious_server=malicious), client=ME, budget=budget())


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"privacy.epsilon": "inf"},
        {"secure_sum.server": "curious"},
        {"secure_sum.protocol": "plain", "secure_sum.min_cohort": 2, "secure_sum.adversarial_fraction": 0.0},
        {"privacy.per_client": {"client-2": 1.0}},
        {"privacy.per_client": {"client-2": {"noise_multiplier": 1.0}}},
    ],
)
def test_simulated_clients_accept_their_own_run_and_no_less(
    overrides: dict[str, object], tiny_config: Callable[..., Config], make_federation
) -> None:
    federation = make_federation(overrides)
    plan = plan_round(
        federation.config,
        run="run",
        round_number=1,
        attempt=0,
        state=federation.start,
        strategy=federation.strategy,
        budgets=federation.budgets,
    )
    for budget_of in federation.budgets:
        policy = simulated_policy(federation.config, budget_of.client, agreed=plan)
        policy.check(plan, client=budget_of.client, budget=budget_of)
        assert policy.max_epsilon == budget_of.epsilon
        for term in AGREED:
            other = plan.model_copy(update={term: _other(getattr(plan, term))})
            with pytest.raises(PolicyError):
                policy.check(other, client=budget_of.client, budget=budget_of)


def _other(value: object) -> object:
    """Any value but this one, of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, GroupRate(name="another", sample_rate=0.1))
    return f"not-{value}" if isinstance(value, str) else value * 1.0000001 + (1e-9 if isinstance(value, float) else 1)


OF_A_ROUND = {"round", "attempt", "phase", "model_hash", "cohort"}
COMPARED_OTHERWISE = {"min_cohort", "adversarial_fraction", "private", "own_terms"}


def test_every_term_of_a_plan_stays_for_a_run_unless_it_is_of_a_round_or_compared_otherwise() -> None:
    """Whoever adds a term to plans, or takes one from those that were agreed, must say here why it may change."""
    assert set(AGREED) == set(RoundPlan.model_fields) - OF_A_ROUND - COMPARED_OTHERWISE
    assert "run" in AGREED, "a run that is renamed within itself would have its budget anew"


@pytest.mark.parametrize("term", AGREED)
def test_a_server_cannot_move_a_term_of_the_run(term: str, make_plan: Callable[..., RoundPlan]) -> None:
    plan = make_plan()
    policy = ClientPolicy(
        min_cohort=1,
        adversarial_fraction=0.0,
        max_epsilon=math.inf,
        protocols=frozenset({plan.protocol, f"not-{plan.protocol}"}),
        trusts_server=True,
        agreed=plan,
    )
    policy.check(plan, client=ME, budget=budget())
    other = plan.model_copy(update={term: _other(getattr(plan, term))})
    with pytest.raises(PolicyError, match=f"{term} is not what was agreed"):
        policy.check(other, client=ME, budget=budget())


def test_a_client_holds_the_server_to_its_own_terms_and_to_nobody_elses(make_plan: Callable[..., RoundPlan]) -> None:
    mine = OwnTerms(client=ME, sample_rate=0.1, clip_norm=0.5, nominal_batch=4.0)
    yours = mine.model_copy(update={"client": "client-2"})
    plan = make_plan(own_terms=(mine, yours))
    policy = ClientPolicy(
        min_cohort=1,
        adversarial_fraction=0.0,
        max_epsilon=math.inf,
        protocols=frozenset({plan.protocol}),
        trusts_server=True,
        agreed=plan,
    )
    policy.check(plan, client=ME, budget=budget())
    policy.check(plan.model_copy(update={"own_terms": (mine,)}), client=ME, budget=budget())
    for change in ({"sample_rate": 0.2}, {"clip_norm": 0.4}, {"nominal_batch": 3.0}):
        other = plan.model_copy(update={"own_terms": (mine.model_copy(update=change), yours)})
        with pytest.raises(PolicyError, match=f"{next(iter(change))} is not what was agreed"):
            policy.check(other, client=ME, budget=budget())
    for dropped in ((yours,), ()):
        with pytest.raises(PolicyError, match="sample_rate is not what was agreed"):
            policy.check(plan.model_copy(update={"own_terms": dropped}), client=ME, budget=budget())
    with pytest.raises(PolicyError, match="the plan gives it terms twice"):
        policy.check(plan.model_copy(update={"own_terms": (mine, mine)}), client=ME, budget=budget())


@pytest.mark.parametrize("change", [{"rank": 1}, {"layers": 1}, {"targets": ("query",)}, {"local_steps": 2}])
@pytest.mark.parametrize("whose", [ME, "client-1"])
def test_nobody_can_be_given_another_part_of_the_module(
    change: dict[str, object], whose: str, make_plan: Callable[..., RoundPlan]
) -> None:
    """Not even others: a slot that they no longer fill would show this client."""
    common = {"sample_rate": 0.25, "clip_norm": 1.0, "nominal_batch": 10}
    agreed = make_plan(own_terms=(OwnTerms(client=whose, **common),))
    policy = ClientPolicy(**{**{name: getattr(POLICY, name) for name in POLICY.__slots__}, "agreed": agreed})
    policy.check(agreed, client=ME, budget=budget())
    lied = make_plan(own_terms=(OwnTerms(client=whose, **common, **change),))
    with pytest.raises(PolicyError, match=r"another part of the module|is not what was agreed"):
        policy.check(lied, client=ME, budget=budget())
