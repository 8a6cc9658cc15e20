from collections.abc import Callable
from typing import Any

import pytest

from fedpeft_secure import Config
from fedpeft_secure.aggregation import choose_strategy
from fedpeft_secure.errors import ConfigError

MakeConfig = Callable[..., Config]
STRAIGHT = {"training.server_optimizer": "sgd", "training.server_learning_rate": 1.0, "peft.rank": 4}
NO_DP = {**STRAIGHT, "privacy.epsilon": "inf"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({**NO_DP, "aggregation.strategy": "flora"}, "'flora' needs individual updates, which the secure sum hides"),
        ({**STRAIGHT, "aggregation.strategy": "hetlora"}, "dividing by a noisy sum of such weights is biased"),
        (
            {**NO_DP, "aggregation.strategy": "flexlora", "training.server_optimizer": "adamw"},
            "training.server_optimizer: 'flexlora' goes straight to its answer",
        ),
        (
            {**NO_DP, "aggregation.strategy": "fedask", "training.server_learning_rate": 1.5},
            "training.server_learning_rate: 1.5 would overshoot the answer of 'fedask'; use at most 1",
        ),
        (
            {**STRAIGHT, "aggregation.strategy": "product_sketch", "privacy.unit": "client"},
            "'product_sketch' does not send the change of an adapter",
        ),
        (
            {**STRAIGHT, "aggregation.strategy": "ffa", "privacy.unit": "client", "allocation.ranks": [4, 4, 4, 2]},
            "allocation.ranks: noise shares of whole clients fill every slot",
        ),
        (
            {**NO_DP, "aggregation.strategy": "fedit", "allocation.ranks": [4, 4, 4, 2]},
            "clients have ranks 2 to 4 of 4, and 'fedit' needs all of them; choose rank_slots",
        ),
        (
            {**NO_DP, "aggregation.strategy": "hetlora", "allocation.ranks": [4, 2]},
            None,
        ),
        (
            {**NO_DP, "aggregation.strategy": "hetlora", "allocation.ranks": [4, 2, 2]},
            "a cohort may have 2 clients of rank 4, fewer than secure_sum.min_cohort = 3",
        ),
        (
            {**NO_DP, "aggregation.strategy": "ffa", "allocation.ranks": [4, 2], "clients.per_round": 4},
            "a cohort may have 2 clients of rank 4",
        ),
        (
            {**NO_DP, "aggregation.strategy": "fedex", "allocation.ranks": [3, 2]},
            "peft.rank: no client has more than 3 of 4 slots; lower it to 3",
        ),
    ],
)
def test_what_cannot_be_combined_says_what_to_change(
    overrides: dict[str, Any], said: str | None, tiny_config: MakeConfig
) -> None:
    config = tiny_config(overrides)
    if said is None:
        assert choose_strategy(config)[0].name == overrides["aggregation.strategy"]
        return
    with pytest.raises(ConfigError) as caught:
        choose_strategy(config)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({}, "fedsvd"),
        ({"allocation.ranks": [4, 4, 2]}, "fedsvd"),
        ({"allocation.ranks": [4, 1, 1]}, "rank_slots"),
        ({"privacy.epsilon": "inf"}, "fedit"),
        ({"privacy.epsilon": "inf", "allocation.ranks": [4, 4, 2]}, "rank_slots"),
    ],
)
def test_auto_follows_privacy_and_ranks(overrides: dict[str, Any], name: str, tiny_config: MakeConfig) -> None:
    strategy, reason = choose_strategy(tiny_config({"peft.rank": 4, **overrides}))
    assert strategy.name == name
    assert reason


@pytest.mark.parametrize("name", ["flexlora", "fedask", "product_sketch", "rank_slots"])
def test_one_strong_client_is_enough_where_nobodys_slots_show(name: str, tiny_config: MakeConfig) -> None:
    config = tiny_config({**NO_DP, "aggregation.strategy": name, "allocation.ranks": [4, 1, 1, 1, 1]})
    assert choose_strategy(config)[0].name == name
