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


def test_where_the_server_adapts_the_clients_of_a_strategy_that_goes_straight_do(tiny_config: MakeConfig) -> None:
    base = tiny_config({"privacy.epsilon": "inf", "training.optimizer": "sgd", "training.server_optimizer": "adamw"})
    arms, refused = choose_arms(base, ["lora_fair", "flora", "fedsvd"])
    assert not refused
    assert [_optimizers(arm.config(base, seed=0)) for arm in arms] == [
        ("sgd", "adamw"),
        ("adamw", "sgd"),
        ("adamw", "sgd"),
        ("sgd", "adamw"),
    ]


def _optimizers(config: Config) -> tuple[str, str]:
    return config.training.optimizer, config.training.server_optimizer


def test_where_the_server_only_averages_all_arms_keep_their_optimizers(tiny_config: MakeConfig) -> None:
    base = tiny_config({"privacy.epsilon": "inf", "training.server_optimizer": "sgd", "training.optimizer": "sgd"})
    arms, _ = choose_arms(base, ["lora_fair", "fedsvd"])
    assert {_optimizers(arm.config(base, seed=0)) for arm in arms} == {("sgd", "sgd")}


@pytest.mark.parametrize(("server", "slower"), [("sgd", "learning_rate"), ("yogi", "server_learning_rate")])
def test_full_fine_tuning_slows_whoever_adapts(server: str, slower: str, tiny_config: MakeConfig) -> None:
    base = tiny_config({"privacy.epsilon": "inf", "training.server_optimizer": server})
    full = choose_arms(base, ["full"])[0][-1].config(base, seed=0).training
    rates = {
        name: getattr(full, name) / getattr(base.training, name) for name in ("learning_rate", "server_learning_rate")
    }
    assert rates[slower] == pytest.approx(0.1)
    assert sum(rates.values()) == pytest.approx(1.1)


@pytest.mark.parametrize("name", ["centralised", "local"])
def test_without_a_server_that_adapts_the_optimizer_does(name: str, tiny_config: MakeConfig) -> None:
    adaptive = tiny_config({"training.optimizer": "sgd", "training.server_optimizer": "adam"})
    plain = tiny_config({"training.optimizer": "sgd", "training.server_optimizer": "momentum"})
    for base, wanted in ((adaptive, "adamw"), (plain, "sgd")):
        assert choose_arms(base, [name])[0][-1].config(base, seed=0).training.optimizer == wanted


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
