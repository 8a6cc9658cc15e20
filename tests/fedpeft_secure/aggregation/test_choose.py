import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import pytest

from fedpeft_secure import Config
from fedpeft_secure.aggregation import Reads, choose_strategy
from fedpeft_secure.aggregation.choose import STRATEGIES
from fedpeft_secure.aggregation.fedit import FedIT
from fedpeft_secure.aggregation.fedsvd import FedSVD
from fedpeft_secure.aggregation.on_tensors import OnTensors
from fedpeft_secure.errors import ConfigError

MakeConfig = Callable[..., Config]


@dataclass(frozen=True)
class Individual(FedIT):
    """A strategy that wants to see everybody's update."""

    name: str = "individual"
    reads: Reads = Reads.INDIVIDUAL


@dataclass(frozen=True)
class Twice(FedIT):
    """A strategy that wants two sums."""

    name: str = "twice"
    reads: Reads = Reads.TWO_SUMS


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `my_strategies` with a strategy of somebody else's."""
    module = ModuleType("my_strategies")
    module.Mine = FedIT  # type: ignore[attr-defined]
    module.Individual = Individual  # type: ignore[attr-defined]
    module.Twice = Twice  # type: ignore[attr-defined]
    module.number = 3  # type: ignore[attr-defined]
    module.NoStrategy = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_strategies", module)


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_a_strategy_is_found_by_its_name(name: str, tiny_config: MakeConfig) -> None:
    settings = {"training.server_optimizer": "sgd", "training.server_learning_rate": 1.0, "privacy.epsilon": "inf"}
    settings["secure_sum.protocol"] = "plain" if name == "flora" else "masked"
    settings["peft.method"] = "lora_xs" if name == "fed_sb" else "lora"
    strategy, reason = choose_strategy(tiny_config({**settings, "aggregation.strategy": name}))
    assert strategy.name == name
    assert reason == "named in the configuration"


def test_under_privacy_auto_takes_the_strategy_with_noise_in_one_factor(tiny_config: MakeConfig) -> None:
    strategy, reason = choose_strategy(tiny_config())
    assert strategy == OnTensors(strategy=FedSVD())
    assert reason.startswith("under DP: noise enters B only")


def test_without_privacy_auto_trains_both_factors(tiny_config: MakeConfig) -> None:
    strategy, reason = choose_strategy(tiny_config({"privacy.epsilon": "inf"}))
    assert strategy == OnTensors(strategy=FedIT())
    assert reason.startswith("without DP: both factors learn")


def test_one_private_client_is_enough(tiny_config: MakeConfig) -> None:
    overrides = {"privacy.epsilon": "inf", "privacy.per_client": {"client-2": 1.0}}
    assert choose_strategy(tiny_config(overrides))[0].name == "fedsvd"


def test_an_unknown_name_lists_what_there_is(tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_strategy(tiny_config({"aggregation.strategy": "fedavg"}))
    assert str(caught.value) == (
        "aggregation.strategy: no strategy 'fedavg'; there are auto, fedit, ffa, fedsvd, rolora, fed_sb, hetlora, "
        "flexlora, fedex, lora_fair, fedask, product_sketch, flora, rank_slots, fedsa, fedper, "
        'or "package.module:Name" for your own'
    )


def test_a_mistyped_name_suggests_the_nearest(tiny_config: MakeConfig) -> None:
    for typed, meant in (("product-sketch", "product_sketch"), ("FedSVD", "fedsvd"), ("rankslots", "rank_slots")):
        with pytest.raises(ConfigError, match=f"for your own; did you mean '{meant}'\\?$"):
            choose_strategy(tiny_config({"aggregation.strategy": typed}))


@pytest.mark.usefixtures("plugin")
def test_ones_own_strategy_by_import_path(tiny_config: MakeConfig) -> None:
    strategy, reason = choose_strategy(tiny_config({"aggregation.strategy": "my_strategies:Mine"}))
    assert strategy == OnTensors(strategy=FedIT())
    assert reason == "named in the configuration"


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    "path",
    [
        "no_such_package.module:Name",
        "my_strategies:Missing",
        "my_strategies:number",
        "my_strategies:NoStrategy",
        "my_strategies:",
        ":Name",
    ],
)
def test_a_path_that_leads_to_no_strategy(path: str, tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"^aggregation\.strategy: cannot use "):
        choose_strategy(tiny_config({"aggregation.strategy": path}))


@pytest.mark.usefixtures("plugin")
def test_individual_updates_are_refused_under_a_secure_sum(tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="needs individual updates, which the secure sum hides; choose another"):
        choose_strategy(tiny_config({"aggregation.strategy": "my_strategies:Individual"}))


@pytest.mark.usefixtures("plugin")
def test_individual_updates_may_be_read_from_a_plain_sum(tiny_config: MakeConfig) -> None:
    config = tiny_config({"aggregation.strategy": "my_strategies:Individual", "secure_sum.protocol": "plain"})
    assert choose_strategy(config)[0].reads is Reads.INDIVIDUAL


@pytest.mark.usefixtures("plugin")
def test_a_strategy_of_ones_own_is_given_one_sum(tiny_config: MakeConfig) -> None:
    """A second one would be a second release: with noise of whole clients a fresh one, for one charge."""
    with pytest.raises(
        ConfigError, match=r"cannot use 'my_strategies:Twice': it reads two sums, and your own .* one mean"
    ):
        choose_strategy(tiny_config({"aggregation.strategy": "my_strategies:Twice", "privacy.unit": "client"}))


@pytest.mark.parametrize("setting", [{"aggregation.sent_share": 0.5}, {"training.control_variates": True}])
def test_pruning_cannot_be_combined_with_what_needs_steady_coordinates(
    setting: dict[str, object], tiny_config: MakeConfig
) -> None:
    key = next(iter(setting))
    with pytest.raises(ConfigError, match=f"{key}: 'adalora' does not sum changes of the same coordinates"):
        choose_strategy(tiny_config({"peft.method": "adalora", **setting}))


def test_one_built_in_strategy_needs_individual_updates() -> None:
    assert [name for name, kind in STRATEGIES.items() if kind().reads is Reads.INDIVIDUAL] == ["flora"]
    assert [name for name, kind in STRATEGIES.items() if kind().reads is Reads.TWO_SUMS] == ["lora_fair", "fedask"]
    assert all(kind().name == name for name, kind in STRATEGIES.items())


@pytest.mark.parametrize("method", ["bitfit", "prefix", "prompt"])
@pytest.mark.parametrize("epsilon", [8.0, "inf"])
def test_methods_without_factors_are_averaged(tiny_config, method, epsilon):
    strategy, reason = choose_strategy(tiny_config({"peft.method": method, "privacy.epsilon": epsilon}))
    assert strategy.name == "fedit"
    assert method in reason


@pytest.mark.parametrize("name", ["ffa", "fedsvd"])
def test_strategies_on_factors_refuse_methods_without(tiny_config, name):
    with pytest.raises(ConfigError, match=rf"^aggregation.strategy: '{name}' needs the factors of LoRA.*; use"):
        choose_strategy(tiny_config({"peft.method": "bitfit", "aggregation.strategy": name}))
    assert choose_strategy(tiny_config({"peft.method": "rslora", "aggregation.strategy": name}))[0].name == name


@pytest.mark.parametrize("epsilon", [8.0, "inf"])
def test_cores_are_summed_as_cores(tiny_config, epsilon):
    settings = {"peft.method": "lora_xs", "privacy.epsilon": epsilon}
    strategy, reason = choose_strategy(tiny_config(settings))
    assert (strategy.name, strategy.scales) == ("fed_sb", False)
    assert "their mean is exact" in reason
    for setting in ({"aggregation.sent_share": 0.5}, {"training.control_variates": True}):
        assert choose_strategy(tiny_config({**settings, **setting}))[0].name == "fed_sb"


@pytest.mark.parametrize("method", ["lora", "adalora", "bitfit"])
def test_without_cores_there_is_no_fed_sb(tiny_config, method):
    with pytest.raises(
        ConfigError, match=rf'^aggregation.strategy: "fed_sb" .*{method}.*; set peft.method = "lora_xs"'
    ):
        choose_strategy(tiny_config({"peft.method": method, "aggregation.strategy": "fed_sb"}))


@pytest.mark.parametrize("name", ["ffa", "product_sketch"])
def test_cores_have_no_factors_for_others(tiny_config, name):
    with pytest.raises(ConfigError, match=rf"^aggregation.strategy: '{name}' needs the factors of LoRA.*; use"):
        choose_strategy(tiny_config({"peft.method": "lora_xs", "aggregation.strategy": name}))
