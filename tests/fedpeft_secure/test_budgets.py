import math
from collections.abc import Callable

import numpy as np
import pytest

import dp
from fedpeft_secure import Config
from fedpeft_secure.budgets import (
    ClientBudget,
    divisor,
    epsilon_limit,
    noise_kind,
    noise_stddev,
    plan_budgets,
    planned_steps,
    reserved_attempts,
)
from fedpeft_secure.errors import ConfigError

MakeConfig = Callable[..., Config]


def test_every_client_spends_its_own_budget_and_no_more(tiny_config: MakeConfig) -> None:
    config = tiny_config({"privacy.epsilon": 8.0, "privacy.per_client": {"client-2": 2.0, "client-4": 1.0}})
    budgets = plan_budgets(config)
    assert [budget.client for budget in budgets] == list(config.client_names)
    assert [budget.epsilon for budget in budgets] == [8.0, 2.0, 8.0, 1.0, 8.0]
    for budget in budgets:
        assert budget.private
        assert 0.98 * budget.epsilon < budget.epsilon_planned <= budget.epsilon
    assert budgets[3].noise_multiplier > budgets[1].noise_multiplier > budgets[0].noise_multiplier


def test_what_is_planned_is_what_the_accountant_says(tiny_config: MakeConfig) -> None:
    budget = plan_budgets(tiny_config({"training.rounds": 3, "training.local_steps": 2}))[0]
    assert budget.steps == 6
    assert budget.epsilon_planned == dp.epsilon(
        noise_multiplier=budget.noise_multiplier, sample_rate=0.25, steps=6, delta=1e-5, accountant="rdp"
    )


def test_rate_and_steps_are_the_same_for_all_whatever_they_hold(tiny_config: MakeConfig) -> None:
    """Budgets are planned without ever looking at a client's data."""
    budgets = plan_budgets(tiny_config({"privacy.per_client": {"client-2": 2.0}}))
    assert {(budget.sample_rate, budget.steps, budget.delta) for budget in budgets} == {(0.25, 2, 1e-5)}


def test_without_a_budget_there_is_no_noise(tiny_config: MakeConfig) -> None:
    for budget in plan_budgets(tiny_config({"privacy.epsilon": "inf"})):
        assert (budget.noise_multiplier, budget.epsilon_planned, budget.private) == (0.0, math.inf, False)


def test_an_unreachable_budget_names_the_client_and_the_remedy(
    tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(**_: object) -> float:
        raise dp.UnreachableBudget("no noise up to 1e6 meets it")

    monkeypatch.setattr(dp, "noise_multiplier", unreachable)
    with pytest.raises(ConfigError) as caught:
        plan_budgets(tiny_config({"privacy.epsilon": 0.5}))
    assert str(caught.value) == (
        "privacy.epsilon: client-1's budget ε = 0.5 cannot be met over 2 steps (no noise up to 1e6 meets it); "
        "raise it, or lower training.rounds or training.sample_rate"
    )


def test_a_really_unreachable_budget(tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"privacy\.epsilon: client-3's budget ε = 1e-09 cannot be met"):
        plan_budgets(tiny_config({"privacy.per_client": {"client-3": 1e-9}}))


@pytest.mark.parametrize(("rounds", "reserve"), [(1, 1), (2, 1), (20, 1), (21, 2), (100, 5)])
def test_secure_noise_keeps_a_reserve_for_repeated_rounds(rounds: int, reserve: int, tiny_config: MakeConfig) -> None:
    config = tiny_config({"training.rounds": rounds, "training.local_steps": 3, "privacy.noise": "secure"})
    assert reserved_attempts(config) == reserve
    assert planned_steps(config) == (rounds + reserve) * 3


def test_simulated_noise_needs_no_reserve(tiny_config: MakeConfig) -> None:
    for noise in ("auto", "simulation"):
        config = tiny_config({"training.rounds": 30, "privacy.noise": noise})
        assert reserved_attempts(config) == 0
        assert planned_steps(config) == 30


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ({}, "simulation"),
        ({"privacy.noise": "simulation"}, "simulation"),
        ({"privacy.noise": "secure"}, "secure"),
        ({"privacy.epsilon": "inf"}, "none"),
        ({"privacy.epsilon": "inf", "privacy.noise": "secure"}, "none"),
        ({"privacy.epsilon": "inf", "privacy.per_client": {"client-1": 1.0}}, "simulation"),
    ],
)
def test_the_kind_of_noise(overrides: dict[str, object], kind: str, tiny_config: MakeConfig) -> None:
    assert noise_kind(tiny_config(overrides)) == kind


def budget(noise_multiplier: float, epsilon: float = 8.0) -> ClientBudget:
    return ClientBudget(
        client="client-1",
        epsilon=epsilon,
        delta=1e-5,
        noise_multiplier=noise_multiplier,
        sample_rate=0.25,
        steps=2,
        epsilon_planned=epsilon,
    )


@pytest.mark.parametrize("clients", [1, 6])
def test_signal_to_noise_is_what_a_simulation_measures(clients: int) -> None:
    """Everybody's clipped gradients agree; the noise of `clients` clients adds up."""
    sigma, clip, batch, dim = 1.3, 0.7, 20, 5000
    rng = np.random.default_rng(0)
    noise = rng.normal(0, sigma * clip, (clients, dim)).sum(axis=0)
    measured = clients * batch * clip / np.linalg.norm(noise)
    found = budget(sigma).signal_to_noise(dim=dim, nominal_batch=batch, clients=clients)
    assert found == pytest.approx(measured, rel=0.05)


def test_without_noise_the_ratio_is_infinite() -> None:
    assert budget(0.0, math.inf).signal_to_noise(dim=10, nominal_batch=5) == math.inf


def plan_of(config: Config, client: str) -> ClientBudget:
    return next(budget for budget in plan_budgets(config) if budget.client == client)


def with_terms(tiny_config: MakeConfig, terms: dict[str, object], **overrides: object) -> Config:
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    return tiny_config({"training.rounds": 10, "privacy.per_client": {"client-2": terms}, **dotted})


def test_a_client_s_own_terms_decide_its_plan(tiny_config: MakeConfig) -> None:
    config = with_terms(tiny_config, {"epsilon": 2.0, "delta": 1e-6, "sample_rate": 0.1, "rounds": 4, "clip_norm": 0.5})
    budget = plan_of(config, "client-2")
    assert (budget.delta, budget.sample_rate, budget.rounds, budget.steps, budget.clip_norm) == (1e-6, 0.1, 4, 4, 0.5)
    assert 0.98 * 2.0 < budget.epsilon_planned <= 2.0
    assert budget.epsilon_planned == dp.epsilon(
        noise_multiplier=budget.noise_multiplier, sample_rate=0.1, steps=4, delta=1e-6, accountant="rdp"
    )
    assert plan_of(config, "client-1") == plan_of(tiny_config({"training.rounds": 10}), "client-1")


def test_more_rounds_than_the_run_has_are_all_of_them(tiny_config: MakeConfig) -> None:
    assert plan_of(with_terms(tiny_config, {"rounds": 500}), "client-2").steps == 10


def test_from_a_noise_multiplier_follows_the_budget(tiny_config: MakeConfig) -> None:
    config = with_terms(tiny_config, {"noise_multiplier": 1.25})
    budget = plan_of(config, "client-2")
    assert budget.noise_multiplier == 1.25
    assert budget.epsilon == budget.epsilon_planned == epsilon_limit(config, "client-2")
    assert budget.epsilon == dp.epsilon(noise_multiplier=1.25, sample_rate=0.25, steps=10, delta=1e-5, accountant="rdp")


def test_a_noise_multiplier_with_room_to_spare_is_taken_with_the_budget(tiny_config: MakeConfig) -> None:
    budget = plan_of(with_terms(tiny_config, {"noise_multiplier": 9.0, "epsilon": 3.0}), "client-2")
    assert (budget.noise_multiplier, budget.epsilon) == (9.0, 3.0)
    assert budget.epsilon_planned < 1.5


def test_a_noise_multiplier_that_overspends_its_epsilon_is_refused_with_the_right_one(tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_budgets(with_terms(tiny_config, {"noise_multiplier": 0.5, "epsilon": 3.0}))
    message = str(caught.value)
    assert message.startswith("privacy.per_client: client-2's noise_multiplier = 0.5 spends ε = ")
    remedy = float(message.split("raise it to ")[1].split(",", maxsplit=1)[0])
    assert plan_of(with_terms(tiny_config, {"noise_multiplier": remedy * 1.001, "epsilon": 3.0}), "client-2")


def test_noise_alone_makes_a_run_private(tiny_config: MakeConfig) -> None:
    terms = {f"client-{index}": {"noise_multiplier": 1.0} for index in range(1, 6)}
    config = tiny_config({"privacy.epsilon": "inf", "privacy.per_client": terms})
    assert noise_kind(config) == "simulation"
    assert all(budget.private for budget in plan_budgets(config))


def test_the_divisor_follows_the_sampling_rate(tiny_config: MakeConfig) -> None:
    """An example's expected contribution is q/divisor whatever its client's rate, so that the mean stays unbiased."""
    config = with_terms(tiny_config, {"sample_rate": 0.1})
    slow, usual = plan_of(config, "client-2"), plan_of(config, "client-1")
    assert divisor(config, usual) == 10
    assert slow.sample_rate / divisor(config, slow) == pytest.approx(usual.sample_rate / divisor(config, usual))
    assert noise_stddev(config, slow) == pytest.approx(slow.noise_multiplier / 4.0)


def test_the_reserve_is_on_top_of_a_client_s_own_rounds(tiny_config: MakeConfig) -> None:
    budget = plan_of(with_terms(tiny_config, {"rounds": 3}, privacy__noise="secure"), "client-2")
    assert budget.steps == 4


def test_next_to_no_noise_is_no_private_client(tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"client-2's noise_multiplier = 1e-300 is too little for any ε; raise it"):
        plan_budgets(with_terms(tiny_config, {"noise_multiplier": 1e-300}))


MEASURED = {
    "model": "tiny-bert",
    "targets": ["query", "value"],
    "weights": [[0.1, 0.2], [0.3, 0.4]],
    "signal_to_noise": 20.0,
    "noise_multiplier": 2.0,
    "noise": "simulation",
    "sample_rate": 0.25,
    "clients": 5,
    "examples": 200.0,
    "label_entropy": 1.0,
    "release": "characteristics-1",
}
BEFORE = dp.SampledGaussian(noise_multiplier=2.0, sample_rate=0.25, steps=1)


def together(sigma: float, rate: float) -> float:
    run = dp.SampledGaussian(noise_multiplier=sigma, sample_rate=rate, steps=2)
    return dp.compose((run, BEFORE), delta=1e-5, accountant="rdp")


def test_what_was_measured_before_is_within_the_budget(tiny_config: MakeConfig) -> None:
    budget = plan_budgets(tiny_config({"privacy.epsilon": 1.2, "allocation.importance": MEASURED}))[0]
    assert budget.epsilon_planned == together(budget.noise_multiplier, 0.25)
    assert 0.97 * 1.2 < budget.epsilon_planned <= 1.2
    with pytest.raises(ConfigError, match="measuring it with noise 2 leaves nothing of client-1's budget; raise"):
        plan_budgets(tiny_config({"privacy.epsilon": 0.5, "allocation.importance": MEASURED}))


def test_little_room_takes_much_noise_and_is_not_called_none(tiny_config: MakeConfig) -> None:
    budget = plan_budgets(tiny_config({"privacy.epsilon": 0.99694, "allocation.importance": MEASURED}))[0]
    assert budget.epsilon_planned <= 0.99694
    assert 40 < budget.noise_multiplier < 50, "19 times that of a fresh ledger"


@pytest.mark.slow
def test_it_is_within_the_budget_of_every_group(tiny_config: MakeConfig) -> None:
    groups = {"strict": {"epsilon": 1.2, "share": 0.3}, "open": {"epsilon": 8.0, "share": 0.7}}
    budget = plan_budgets(tiny_config({"privacy.groups": groups, "allocation.importance": MEASURED}))[0]
    for group in budget.groups:
        assert group.epsilon_planned == together(budget.noise_multiplier, group.sample_rate)
    strict = budget.groups[1]
    assert 0.97 * strict.epsilon < strict.epsilon_planned <= strict.epsilon
    assert max(group.epsilon_planned / group.epsilon for group in budget.groups) <= 1


def test_noise_of_ones_own_leaves_room_for_it(tiny_config: MakeConfig) -> None:
    config = with_terms(tiny_config, {"noise_multiplier": 1.5, "rounds": 2}, allocation__importance=MEASURED)
    assert epsilon_limit(config, "client-2") == plan_of(config, "client-2").epsilon == together(1.5, 0.25)
