"""Which layers are tuned, on every architecture."""

from pathlib import Path

import pytest
from torch import nn

from fedpeft_secure import methods, models
from fedpeft_secure.config import ModelConfig, PeftTable
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.errors import ConfigError, ModelError
from fedpeft_secure.methods.layers import attention_outputs, blocks_of, feed_forward_outputs, target_names
from fedpeft_secure.preflight import check

STACKS = {
    "tiny_bert": "backbone.encoder.layer",
    "tiny_roberta": "backbone.encoder.layer",
    "tiny_distilbert": "backbone.transformer.layer",
    "tiny_t5": "backbone.encoder.block",
}
LAYERED = ("lora", "rslora", "dora", "vera", "adalora", "ia3", "adapter", "bitfit", "full")


@pytest.fixture(params=sorted(STACKS))
def architecture(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def base_of(path: Path) -> nn.Module:
    return models.load_classifier(ModelConfig(name=str(path)), num_labels=2, seed=1)


def names_of(path: Path, **peft: object) -> set[str]:
    table = PeftTable.model_validate({"rank": 2, **peft})
    return set(methods.wrap(base_of(path), table, public_name="x", seed=1)[1].names)


def test_blocks_run_from_the_input_to_the_head(architecture: str, request: pytest.FixtureRequest) -> None:
    base = base_of(request.getfixturevalue(architecture))
    assert blocks_of(base) == [f"{STACKS[architecture]}.0", f"{STACKS[architecture]}.1"]


def test_every_block_has_one_attention_and_one_feed_forward(architecture: str, request: pytest.FixtureRequest) -> None:
    base = base_of(request.getfixturevalue(architecture))
    for found in (attention_outputs(base, 0), feed_forward_outputs(base, 0)):
        assert [name.split(f"{STACKS[architecture]}.")[1][0] for name in found] == ["0", "1"]
    assert attention_outputs(base, 1) == attention_outputs(base, 0)[1:]
    for name in feed_forward_outputs(base, 0):
        assert base.get_submodule(name).in_features == 48, "the inner width of the tiny models"


@pytest.mark.parametrize("method", LAYERED)
def test_the_top_layers_are_those_nearest_to_the_head(method: str, tiny_bert: Path) -> None:
    all_of_them, top = names_of(tiny_bert, method=method), names_of(tiny_bert, method=method, layers=1)
    lower = {name for name in all_of_them if ".layer.0." in name or ".embeddings." in name}
    assert top == all_of_them - lower
    assert lower
    assert any("classifier" in name for name in top)


@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_all_layers_by_number_is_all_layers(method: str, tiny_t5: Path) -> None:
    assert names_of(tiny_t5, method=method, layers=2) == names_of(tiny_t5, method=method)


@pytest.mark.parametrize("method", ["lora", "adapter", "full"])
def test_a_part_of_the_layers_is_saved_and_loaded(method: str, tiny_bert: Path, tmp_path: Path) -> None:
    table = PeftTable.model_validate({"method": method, "layers": 1})
    model, spec = methods.wrap(base_of(tiny_bert), table, public_name="x", seed=1)
    state = methods.read_state(model)
    methods.save_adapter(model, state, tmp_path)
    loaded = methods.load_adapter(base_of(tiny_bert), tmp_path)
    assert methods.spec_of(loaded) == spec
    assert methods.read_state(loaded).digest() == state.digest()


def test_more_layers_than_there_are(tiny_bert: Path) -> None:
    with pytest.raises(ModelError, match=r"^peft.layers: 3 is above this model's 2 layers; lower it"):
        names_of(tiny_bert, layers=3)


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_virtual_tokens_reach_every_layer(method: str) -> None:
    with pytest.raises(ConfigError, match=rf"^peft.layers: {method} reaches every layer; use 0"):
        check(parse_config({"peft": {"method": method, "layers": 1}}))


def test_targets_have_the_architectures_names(tiny_distilbert: Path, tiny_t5: Path) -> None:
    assert target_names(base_of(tiny_distilbert), ("query", "key", "value"), 0) == ["q_lin", "k_lin", "v_lin"]
    assert target_names(base_of(tiny_t5), ("query", "o"), 0) == ["q", "o"]


def test_unknown_sublayers_are_refused() -> None:
    class Strange(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = type("Config", (), {"model_type": "strange"})()
            self.layers = nn.ModuleList([nn.ModuleDict({"mixer": nn.Linear(4, 4)})])

    with pytest.raises(ModelError, match=r"^peft.method: nothing is known of the feed-forward layers of strange"):
        feed_forward_outputs(Strange(), 0)
