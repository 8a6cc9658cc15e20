from collections.abc import Callable

import pytest

import dp
from fedpeft_secure import Config
from fedpeft_secure.affordability import affordable_rounds, foresee
from fedpeft_secure.budgets import plan_budgets

MakeConfig = Callable[..., Config]


def rounds_of(config: Config, **own: int) -> dict[str, int]:
    return {name: own.get(name.replace("-", "_"), config.training.rounds) for name in config.client_names}


def test_on_an_empty_ledger_every_planned_round_is_affordable(tiny_config: MakeConfig) -> None:
    config = tiny_config(
        {"training.rounds": 7, "training.local_steps": 3, "privacy.per_client": {"client-2": {"rounds": 4}}}
    )
    assert [affordable_rounds(config, budget, ()) for budget in plan_budgets(config)] == [7, 4, 7, 7, 7]


@pytest.mark.parametrize("local_steps", [1, 3])
def test_what_was_charged_before_takes_rounds_away(local_steps: int, tiny_config: MakeConfig) -> None:
    config = tiny_config({"training.rounds": 10, "training.local_steps": local_steps})
    budget = plan_budgets(config)[0]
    history = (dp.SampledGaussian(noise_multiplier=budget.noise_multiplier, sample_rate=0.25, steps=4 * local_steps),)
    assert affordable_rounds(config, budget, history) == 6


def test_without_a_budget_there_is_always_room(tiny_config: MakeConfig) -> None:
    config = tiny_config({"privacy.epsilon": "inf"})
    assert affordable_rounds(config, plan_budgets(config)[0], (dp.NonPrivate(steps=9),)) == 2


def test_with_room_for_all_nobody_is_seen_leaving(tiny_config: MakeConfig) -> None:
    config = tiny_config({"training.rounds": 7})
    seen = foresee(config, rounds_of(config))
    assert (seen.leaves, seen.ends_after) == ({}, None)


def test_at_full_participation_everybody_leaves_after_its_own_rounds(tiny_config: MakeConfig) -> None:
    config = tiny_config({"training.rounds": 9, "clients.count": 8, "clients.per_round": 8})
    seen = foresee(config, rounds_of(config, client_2=3, client_4=0, client_6=9))
    assert (seen.leaves, seen.ends_after) == ({"client-4": 0, "client-2": 3}, None)


def test_a_run_ends_when_too_few_are_left(tiny_config: MakeConfig) -> None:
    """Five is the smallest masked cohort against a malicious server."""
    config = tiny_config({"training.rounds": 9, "clients.count": 6, "clients.per_round": 6})
    seen = foresee(config, rounds_of(config, client_2=3, client_4=5))
    assert (seen.leaves, seen.ends_after) == ({"client-2": 3, "client-4": 5}, 5)


def test_who_is_chosen_less_often_lasts_longer(tiny_config: MakeConfig) -> None:
    config = tiny_config({"training.rounds": 40, "clients.count": 12, "clients.per_round": 6})
    seen = foresee(config, rounds_of(config, client_2=10))
    assert 12 < seen.leaves["client-2"] < 32
