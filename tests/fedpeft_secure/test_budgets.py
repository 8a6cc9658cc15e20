import math
from collections.abc import Callable

import numpy as np
import pytest

import dp
from fedpeft_secure import Config
from fedpeft_secure.budgets import ClientBudget, noise_kind, plan_budgets, planned_steps, reserved_attempts
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
