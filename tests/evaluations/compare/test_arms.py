from collections.abc import Callable

import pytest

from evaluations.compare.arms import BASELINES, DEFAULT, choose_arms
from fedpeft_secure import Config
from fedpeft_secure.aggregation.choose import STRATEGIES
from fedpeft_secure.errors import ConfigError, InputError

MakeConfig = Callable[..., Config]


def test_everything_is_run_or_refused_with_a_reason(tiny_config: MakeConfig) -> None:
    arms, refused = choose_arms(tiny_config({"privacy.epsilon": "inf"}))
    names = [arm.name for arm in arms]
    assert names[0] == DEFAULT
    assert {*names, *(one.name for one in refused)} == {DEFAULT, *STRATEGIES, *BASELINES}
    assert len(names) == len(set(names))
    assert all(one.reason for one in refused)


def test_the_default_is_always_there_and_lets_the_configuration_choose(tiny_config: MakeConfig) -> None:
    base = tiny_config({"aggregation.strategy": "fedit"})
    arms, _ = choose_arms(base, ["ffa"])
    assert [arm.name for arm in arms] == [DEFAULT, "ffa"]
    configs = [arm.config(base, seed=3) for arm in arms]
    assert [config.aggregation.strategy for config in configs] == ["auto", "ffa"]


def test_arms_differ_in_nothing_but_what_they_name(tiny_config: MakeConfig) -> None:
    base = tiny_config({"privacy.epsilon": "inf"})
    arms, _ = choose_arms(base, ["fedit", "full"])
    same = {"model", "data", "clients", "privacy", "secure_sum", "allocation"}
    for arm in arms:
        config = arm.config(base, seed=3)
        assert config.seed == 3
        assert config.attacks.run == ()
        assert {name for name in same if getattr(config, name) != getattr(base, name)} == set()
        assert config.training.rounds == base.training.rounds
    full = arms[-1].config(base, seed=3)
    assert full.peft.method == "full"
    assert full.training.learning_rate == pytest.approx(base.training.learning_rate / 10)


@pytest.mark.parametrize("name", ["centralised", "local"])
def test_what_never_leaves_is_not_noised(name: str, tiny_config: MakeConfig) -> None:
    arms, _ = choose_arms(tiny_config(), [name])
    assert arms[-1].kind == name
    assert not arms[-1].config(tiny_config(), seed=0).is_private("client-1")


def test_baselines_train_the_whole_module_where_clients_have_ranks_of_their_own(tiny_config: MakeConfig) -> None:
    base = tiny_config({"privacy.epsilon": "inf", "allocation.ranks": [2, 1, 2, 1, 2]})
    arms, refused = choose_arms(base, list(BASELINES))
    assert not refused
    assert all(arm.config(base, seed=0).allocation.ranks == () for arm in arms if arm.name != DEFAULT)


def test_a_strategy_without_one_model_has_none_to_compare(tiny_config: MakeConfig) -> None:
    _, refused = choose_arms(tiny_config({"privacy.epsilon": "inf"}), ["fedsa", "fedper"])
    assert [one.name for one in refused] == ["fedsa", "fedper"]
    assert all("a model of its own" in one.reason for one in refused)


def test_an_unknown_arm_is_refused_by_name(tiny_config: MakeConfig) -> None:
    with pytest.raises(InputError, match=r"--arm fedavgg: there are default, .*fedsvd.*, local"):
        choose_arms(tiny_config(), ["fedavgg"])


def test_a_configuration_whose_default_cannot_run_is_refused(tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"clients\.per_round"):
        choose_arms(tiny_config({"clients.per_round": 9}))
