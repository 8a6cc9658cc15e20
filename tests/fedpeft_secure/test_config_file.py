import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpeft_secure.config import Config
from fedpeft_secure.config_file import dump_config, known_keys, load_config, parse_config
from fedpeft_secure.errors import ConfigError, InputError


def error_of(tables: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(tables)
    return str(caught.value)


def test_without_a_file_every_key_has_its_default() -> None:
    assert load_config() == Config()


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[privacy]\nepsilon = "inf"\n[data]\nname = "synthetic"\n')
    config = load_config(path)
    assert math.isinf(config.privacy.epsilon)
    assert config.data.name == "synthetic"
    assert config.training == Config().training


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[privacy]\nepsilon = 2.0\ndelta = 1e-6\n")
    config = load_config(path, overrides=["privacy.epsilon=3"])
    assert (config.privacy.epsilon, config.privacy.delta) == (3.0, 1e-6)


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=7", lambda config: config.seed == 7),
        (" privacy.epsilon = 0.5 ", lambda config: config.privacy.epsilon == 0.5),
        ("privacy.epsilon=inf", lambda config: config.privacy.epsilon == math.inf),
        ('privacy.epsilon="inf"', lambda config: config.privacy.epsilon == math.inf),
        ("model.name=org/model-1", lambda config: config.model.name == "org/model-1"),
        ("model.name=a=b", lambda config: config.model.name == "a=b"),
        ('peft.targets=["q", "v"]', lambda config: config.peft.targets == ("q", "v")),
        ('data.partition={scheme="iid"}', lambda config: config.data.partition.scheme == "iid"),
        ("data.partition.alpha=0.1", lambda config: config.data.partition.alpha == 0.1),
        ("privacy.per_client.client-3=2", lambda config: config.epsilon_of("client-3") == 2.0),
        ("secure_sum.clip=0.25", lambda config: config.secure_sum.clip == 0.25),
        ("attacks.run=[]", lambda config: config.attacks.run == ()),
    ],
)
def test_an_override_is_toml_or_plain_text(override: str, read: Any) -> None:
    assert read(load_config(overrides=[override]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("privacy.epsilon", "--set 'privacy.epsilon': write KEY=VALUE, for example --set privacy.epsilon=3"),
        ("=3", "--set '=3': write KEY=VALUE, for example --set privacy.epsilon=3"),
        ("seed.deep=3", "seed: should be a valid integer, got a table"),
        ("privacy=3", "privacy: should be a table, got 3"),
    ],
)
def test_an_override_that_cannot_be_meant(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[override])
    assert str(caught.value) == message


def test_an_override_below_a_value_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("seed = 3\n")
    with pytest.raises(ConfigError, match=r"--set 'seed.deep=3': 'seed' is a value, not a table"):
        load_config(path, overrides=["seed.deep=3"])


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("privacy.epsilom", "privacy.epsilon"),
        ("trainning.rounds", "training.rounds"),
        ("training.round", "training.rounds"),
        ("epsilon", "privacy.epsilon"),
        ("data.synthetic.example", "data.synthetic.examples"),
    ],
)
def test_an_unknown_key_suggests_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[f"{key}=1"])
    named = key if key != "trainning.rounds" else "trainning"
    assert str(caught.value).startswith(f"{named}: unknown key; did you mean '")
    assert f"'{nearest}'" in str(caught.value) or named == "trainning"


def test_a_mistyped_choice_suggests_the_nearest() -> None:
    wanted = "secure_sum.protocol: should be 'auto', 'plain', 'masked', 'helper', 'ckks' or 'bfv', got "
    assert error_of({"secure_sum": {"protocol": "Masket"}}) == f"{wanted}'Masket'; did you mean 'masked'?"
    assert error_of({"secure_sum": {"protocol": "xyz"}}) == f"{wanted}'xyz'"


def test_an_unknown_key_that_is_like_none_lists_the_tables() -> None:
    message = error_of({"xyzzyx": 1})
    assert message.startswith("xyzzyx: unknown key; the tables are seed, model, data, clients")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"training": {"rounds": "many"}}, "training.rounds: should be a valid integer"),
        ({"training": {"rounds": 2.5}}, "training.rounds: should be a valid integer"),
        ({"training": {"rounds": 0}}, "training.rounds: should be greater than or equal to 1, got 0"),
        ({"training": {"sample_rate": 1.5}}, "training.sample_rate: should be less than or equal to 1, got 1.5"),
        ({"privacy": {"epsilon": -1}}, "privacy.epsilon: should be greater than 0, got -1"),
        ({"privacy": {"epsilon": math.nan}}, "privacy.epsilon: "),
        ({"privacy": {"epsilon": "none"}}, "privacy.epsilon: "),
        ({"privacy": {"accountant": "moments"}}, "privacy.accountant: should be 'prv', 'rdp' or 'pld', got 'moments'"),
        ({"privacy": {"per_client": {"client-2": 0}}}, "privacy.per_client"),
        ({"model": {"name": 3}}, "model.name: should be a valid string, got 3"),
        ({"model": "minilm"}, "model: should be a table, got 'minilm'"),
        ({"secure_sum": {"clip": "wide"}}, "secure_sum.clip: "),
        ({"data": {"partition": {"scheme": "random"}}}, "data.partition.scheme: should be 'dirichlet'"),
        ({"peft": {"targets": "query"}}, 'peft.targets: should be a list, such as ["a", "b"], got '),
        ({"peft": {"targets": ["query", 5]}}, "peft.targets: should be a valid string, got 5"),
        ({"training": {"learning_rate": math.inf}}, "training.learning_rate: should be a finite number, got inf"),
        ({"privacy": {"clip_norm": math.nan}}, "privacy.clip_norm: should be "),
    ],
)
def test_a_wrong_value_names_the_key_and_what_it_should_be(tables: dict[str, Any], message: str) -> None:
    found = error_of(tables)
    assert found.startswith(message)
    assert "\n" not in found


@pytest.mark.parametrize("key", [key for key in known_keys() if "." in key])
def test_every_key_is_named_when_its_value_is_a_table_of_nonsense(key: str) -> None:
    tables: dict[str, Any] = {}
    *parents, last = key.split(".")
    inner = tables
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[last] = {"nonsense": {"deeper": True}}
    assert error_of(tables).startswith(key)


def test_a_missing_file() -> None:
    with pytest.raises(ConfigError, match=r"nowhere.toml: No such file or directory; give the path of an existing"):
        load_config("nowhere.toml")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)


@pytest.mark.parametrize("content", [b"epsilon = = 3", b"\xff\xfe"])
def test_a_malformed_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"run.toml is no valid TOML"):
        load_config(path)


def test_bad_input_exits_with_two() -> None:
    assert issubclass(ConfigError, InputError)


def test_the_default_survives_the_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(dump_config(Config()))
    assert load_config(path) == Config()


@given(
    st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**63 - 1),
            "data": st.fixed_dictionaries({"name": st.text(max_size=12)}),
            "peft": st.fixed_dictionaries({"targets": st.lists(st.text(min_size=1, max_size=8), max_size=4)}),
            "privacy": st.fixed_dictionaries(
                {
                    "epsilon": st.one_of(st.just("inf"), st.floats(1e-3, 1e3)),
                    "per_client": st.dictionaries(st.from_regex(r"client-[1-9]", fullmatch=True), st.floats(0.1, 10)),
                }
            ),
            "secure_sum": st.fixed_dictionaries({"clip": st.one_of(st.just("auto"), st.floats(1e-6, 1e6))}),
        }
    )
)
def test_any_configuration_survives_the_round_trip(tables: dict[str, Any]) -> None:
    config = parse_config(tables)
    written = tomllib.loads(dump_config(config))
    assert parse_config(written) == config
    assert set(written) == set(Config.model_fields), "every table is written out"


def test_known_keys_are_dotted_and_complete() -> None:
    keys = list(known_keys())
    assert {"seed", "privacy", "privacy.epsilon", "data.partition.alpha", "data.synthetic.secrets_per_client"} <= set(
        keys
    )
    assert len(keys) == len(set(keys))
    for key in keys:
        value: Any = Config().to_dict()
        for part in key.split("."):
            value = value[part]
