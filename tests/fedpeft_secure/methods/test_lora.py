"""LoRA and rsLoRA, and what all adapters in PEFT's format share."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from torch import nn

from fedpeft_secure import methods, models
from fedpeft_secure.adapters import AdapterState, Role
from fedpeft_secure.config import ModelConfig, PeftTable
from fedpeft_secure.errors import ModelError

ARCHITECTURES = ("tiny_bert", "tiny_roberta", "tiny_distilbert", "tiny_t5")
IDS = torch.tensor([[5, 6, 7, 1], [8, 9, 1, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


@pytest.fixture(params=ARCHITECTURES)
def tiny_model(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def base_of(path: Path, pooling: str = "mean") -> nn.Module:
    config = ModelConfig.model_validate({"name": str(path), "pooling": pooling})
    return models.load_classifier(config, num_labels=2, seed=1)


def adapted(path: Path, *, pooling: str = "mean", **peft: object) -> methods.AdaptedModel:
    table = PeftTable.model_validate({"rank": 3, **peft})
    model, _ = methods.wrap(base_of(path, pooling), table, public_name="org/public", seed=7)
    return model.eval()


def random_state(model: nn.Module, seed: int = 0) -> AdapterState:
    rng = np.random.default_rng(seed)
    state = methods.read_state(model)
    return AdapterState({name: rng.standard_normal(value.shape) for name, value in state.values.items()})


def logits_of(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=IDS, attention_mask=MASK).logits
    return logits


@pytest.mark.parametrize("pooling", ["mean", "model"])
def test_names_and_shapes_are_those_of_pefts_own_format(pooling: str, tiny_model: Path) -> None:
    model = adapted(tiny_model, pooling=pooling)
    spec = methods.spec_of(model)
    theirs = get_peft_model_state_dict(model, save_embedding_layers=False)
    assert {entry.name: entry.shape for entry in spec.entries} == {
        name: tuple(value.shape) for name, value in theirs.items()
    }
    state = random_state(model)
    methods.write_state(model, state)
    theirs = get_peft_model_state_dict(model, save_embedding_layers=False)
    assert all((state[name] == theirs[name].numpy()).all() for name in spec.names)


@pytest.mark.parametrize("pooling", ["mean", "model"])
def test_peft_loads_what_was_saved(pooling: str, tiny_model: Path, tmp_path: Path) -> None:
    model = adapted(tiny_model, pooling=pooling)
    state = random_state(model)
    methods.write_state(model, state)
    methods.save_adapter(model, state, tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(base_of(tiny_model, pooling), str(tmp_path / "adapter"))
    assert torch.equal(logits_of(loaded), logits_of(model))
    assert torch.equal(
        logits_of(methods.load_adapter(base_of(tiny_model, pooling), tmp_path / "adapter")), logits_of(model)
    )
    assert not torch.equal(logits_of(loaded), logits_of(base_of(tiny_model, pooling)))


def test_the_saved_adapter_holds_two_files_and_no_local_path(tiny_model: Path, tmp_path: Path) -> None:
    model = adapted(tiny_model)
    methods.save_adapter(model, methods.read_state(model), tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    text = (tmp_path / "adapter" / "adapter_config.json").read_text()
    assert json.loads(text)["base_model_name_or_path"] == "org/public"
    assert str(tiny_model) not in text
    assert "/tmp" not in text  # noqa: S108
    assert json.loads(text)["inference_mode"]


def test_the_state_that_is_given_is_saved_not_the_models(tiny_bert: Path, tmp_path: Path) -> None:
    model = adapted(tiny_bert)
    state = random_state(model)
    methods.save_adapter(model, state, tmp_path)
    loaded = methods.load_adapter(base_of(tiny_bert), tmp_path)
    assert methods.read_state(loaded).digest() == state.digest() != methods.read_state(model).digest()


def test_reading_and_writing_are_inverse(tiny_model: Path) -> None:
    model = adapted(tiny_model)
    state = random_state(model)
    methods.write_state(model, state)
    assert methods.read_state(model).digest() == state.digest()


def test_roles_and_modules(tiny_bert: Path) -> None:
    spec = methods.spec_of(adapted(tiny_bert))
    prefix = "base_model.model.backbone.encoder.layer"
    assert spec.modules == tuple(
        f"{prefix}.{layer}.attention.self.{target}" for layer in (0, 1) for target in ("query", "value")
    )
    for module in spec.modules:
        assert spec.name_of(module, Role.LORA_A) == f"{module}.lora_A.weight"
        assert spec.name_of(module, Role.LORA_B) == f"{module}.lora_B.weight"
    heads = [entry.name for entry in spec.entries if entry.role is Role.HEAD]
    assert heads == ["base_model.model.classifier.bias", "base_model.model.classifier.weight"]
    assert {entry.shape for entry in spec.only((Role.LORA_A,)).entries} == {(3, 32)}
    assert {entry.shape for entry in spec.only((Role.LORA_B,)).entries} == {(32, 3)}


def test_a_head_of_several_layers_is_trained_whole(tiny_distilbert: Path) -> None:
    spec = methods.spec_of(adapted(tiny_distilbert, pooling="model"))
    heads = {entry.module for entry in spec.entries if entry.role is Role.HEAD}
    assert heads == {"base_model.model.pre_classifier", "base_model.model.classifier"}


def test_only_adapter_and_head_are_trainable(tiny_model: Path) -> None:
    model = adapted(tiny_model)
    trainable = {methods.public_name(name) for name, value in model.named_parameters() if value.requires_grad}
    assert trainable == set(methods.spec_of(model).names)


def test_the_start_changes_nothing_and_follows_the_seed(tiny_model: Path) -> None:
    one, two = (methods.read_state(adapted(tiny_model)) for _ in range(2))
    assert one.digest() == two.digest()
    other, _ = methods.wrap(base_of(tiny_model), PeftTable(rank=3), public_name="x", seed=8)
    assert methods.read_state(other).digest() != one.digest()
    assert all(not value.any() for name, value in one.values.items() if "lora_B" in name)
    assert all(value.any() for name, value in one.values.items() if "lora_A" in name)


def test_wrapping_leaves_the_global_generator_alone(tiny_bert: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    adapted(tiny_bert)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(("method", "scale"), [("lora", 16 / 4), ("rslora", 16 / 2)])
def test_the_product_is_scaled_as_the_method_says(method: str, scale: float, tiny_bert: Path) -> None:
    model = adapted(tiny_bert, rank=4, alpha=16.0, method=method)
    state = random_state(model)
    methods.write_state(model, state)
    module = methods.spec_of(model).modules[0]
    delta = scale * state[f"{module}.lora_B.weight"] @ state[f"{module}.lora_A.weight"]
    layer = model.get_submodule(module)
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    change = (layer(x) - layer.base_layer(x)).detach().numpy()
    assert np.allclose(change, x.numpy() @ delta.T, atol=1e-3)


def test_train_only_freezes_one_factor_and_lets_it_go_again(tiny_bert: Path) -> None:
    model = adapted(tiny_bert)
    spec = methods.spec_of(model)
    part = spec.only((Role.LORA_B, Role.HEAD))
    methods.train_only(model, part)
    trainable = {name for name, value in methods.named_trainable(model).items() if value.requires_grad}
    assert trainable == set(part.names)
    assert methods.spec_of(model) == spec, "the structure does not depend on what is frozen"
    assert set(methods.read_state(model).values) == set(spec.names)
    methods.train_only(model, spec)
    assert all(value.requires_grad for value in methods.named_trainable(model).values())


def test_the_frozen_original_of_the_head_is_never_unfrozen(tiny_bert: Path) -> None:
    model = adapted(tiny_bert)
    methods.train_only(model, methods.spec_of(model))
    frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
    assert any("original_module" in name for name in frozen)
    assert not any("original_module" in name for name in methods.named_trainable(model))


def test_a_wrong_target_names_what_there_is(tiny_bert: Path) -> None:
    with pytest.raises(ModelError) as caught:
        adapted(tiny_bert, targets=("query", "q_proj"))
    message = str(caught.value)
    assert message.startswith("peft.targets: this model has no linear module 'q_proj'; it has dense, key, query, value")
    assert "classifier" not in message


def test_targets_may_be_the_architectures_own_names(tiny_t5: Path) -> None:
    one = methods.spec_of(adapted(tiny_t5, targets=("q", "v")))
    assert one == methods.spec_of(adapted(tiny_t5, targets=("query", "value")))


@pytest.mark.parametrize("targets", [("key",), ("query", "key", "value"), ("dense",)])
def test_other_targets(targets: tuple[str, ...], tiny_bert: Path) -> None:
    modules = methods.spec_of(adapted(tiny_bert, targets=targets)).modules
    assert {module.rsplit(".", 1)[-1] for module in modules} == set(targets)
