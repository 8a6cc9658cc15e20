"""Each method's own equation, from its saved values alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedpeft_secure import methods, models
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.config import ModelConfig, PeftTable
from fedpeft_secure.errors import ModelError

QUERY = "backbone.encoder.layer.1.attention.self.query"
KEY = "backbone.encoder.layer.1.attention.self.key"
OUT = "backbone.encoder.layer.1.output.dense"
X = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))


def base_of(path: Path) -> nn.Module:
    return models.load_classifier(ModelConfig(name=str(path)), num_labels=2, seed=1)


def adapted(path: Path, **peft: object) -> tuple[methods.AdaptedModel, AdapterState]:
    """A model with random values in its adapter."""
    table = PeftTable.model_validate({"rank": 4, "bottleneck": 3, **peft})
    model, _ = methods.wrap(base_of(path), table, public_name="x", seed=7)
    rng = np.random.default_rng(0)
    start = methods.read_state(model)
    state = AdapterState({name: rng.standard_normal(value.shape) for name, value in start.values.items()})
    methods.write_state(model, state)
    return model.eval(), state


def answer(model: nn.Module, name: str, x: torch.Tensor = X) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model.get_submodule(name)(x).numpy()
    return found


def weights(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    layer = base_of(path).get_submodule(name)
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def test_dora(tiny_bert: Path) -> None:
    model, state = adapted(tiny_bert, method="dora", alpha=8.0)
    a, b, m = (
        state[f"base_model.model.{QUERY}.{part}"]
        for part in ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")
    )
    w, bias = weights(tiny_bert, QUERY)
    direction = w + 8.0 / 4 * b @ a
    expected = X.numpy() @ (m[:, None] * direction / np.linalg.norm(direction, axis=1, keepdims=True)).T + bias
    assert np.allclose(answer(model, f"base_model.model.{QUERY}"), expected, atol=1e-4)


def test_vera(tiny_bert: Path) -> None:
    model, state = adapted(tiny_bert, method="vera")
    vectors = [state[f"base_model.model.{QUERY}.vera_lambda_{part}"] for part in "bd"]
    a, b = (getattr(model.base_model, f"vera_{part}")["default"].numpy() for part in "AB")
    w, bias = weights(tiny_bert, QUERY)
    delta = vectors[0][:, None] * b @ (vectors[1][:, None] * a)
    assert np.allclose(answer(model, f"base_model.model.{QUERY}"), X.numpy() @ (w + delta).T + bias, atol=1e-4)


def test_veras_projections_are_public_and_neither_sent_nor_saved(tiny_bert: Path, tmp_path: Path) -> None:
    model, state = adapted(tiny_bert, method="vera")
    assert not any("vera_A" in name or "vera_B" in name for name in state.values)
    methods.save_adapter(model, state, tmp_path)
    loaded = methods.load_adapter(base_of(tiny_bert), tmp_path)
    other, _ = methods.wrap(base_of(tiny_bert), PeftTable(method="vera", rank=4), public_name="x", seed=8)
    ours, theirs, others = (each.base_model.vera_A["default"] for each in (model, loaded, other))
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, others), "they follow the seed"


def test_adalora(tiny_bert: Path) -> None:
    model, state = adapted(tiny_bert, method="adalora", alpha=8.0)
    q, values, p = (state[f"base_model.model.{QUERY}.lora_{part}"] for part in "AEB")
    w, bias = weights(tiny_bert, QUERY)
    delta = 8.0 / 4 * p @ (values * q)
    assert np.allclose(answer(model, f"base_model.model.{QUERY}"), X.numpy() @ (w + delta).T + bias, atol=1e-3)


def test_adalora_has_no_regulariser_in_its_loss(tiny_bert: Path) -> None:
    """It is the server's: in the loss it would be part of what each example is clipped with."""
    model, _ = adapted(tiny_bert, method="adalora")
    assert model.peft_config["default"].orth_reg_weight == 0


def test_ia3(tiny_bert: Path) -> None:
    model, state = adapted(tiny_bert, method="ia3", targets=("query",))
    scale = state[f"base_model.model.{KEY}.ia3_l"][:, 0]
    w, bias = weights(tiny_bert, KEY)
    assert np.allclose(answer(model, f"base_model.model.{KEY}"), (X.numpy() @ w.T + bias) * scale, atol=1e-5)
    inner = torch.randn(5, 48, generator=torch.Generator().manual_seed(1))
    scale = state[f"base_model.model.{OUT}.ia3_l"][0]
    w, bias = weights(tiny_bert, OUT)
    assert np.allclose(answer(model, f"base_model.model.{OUT}", inner), (inner.numpy() * scale) @ w.T + bias, atol=1e-5)
    modules = {name.removesuffix(".ia3_l").split("layer.")[1][2:] for name in state.values if name.endswith("ia3_l")}
    assert modules == {"attention.self.key", "attention.self.value", "output.dense"}, "not the attention's own output"


def test_bottleneck(tiny_bert: Path) -> None:
    model, state = adapted(tiny_bert, method="adapter")
    values = {name.removeprefix(f"base_model.{OUT}.adapter_"): state[name] for name in state.values if OUT in name}
    inner = torch.randn(5, 48, generator=torch.Generator().manual_seed(1))
    w, bias = weights(tiny_bert, OUT)
    h = inner.numpy() @ w.T + bias
    narrow = torch.from_numpy(h @ values["down.weight"].T + values["down.bias"])
    expected = h + nn.functional.gelu(narrow).numpy() @ values["up.weight"].T + values["up.bias"]
    assert np.allclose(answer(model, f"base_model.{OUT}", inner), expected, atol=1e-4)


@pytest.mark.parametrize(("placement", "modules"), [("houlsby", 4), ("pfeiffer", 2)])
def test_places_of_adapters(placement: str, modules: int, tiny_bert: Path) -> None:
    _, state = adapted(tiny_bert, method="adapter", placement=placement)
    assert sum("adapter_down.weight" in name for name in state.values) == modules


@pytest.mark.parametrize("method", ["dora", "vera", "adalora", "ia3", "adapter", "full", "head"])
def test_the_start_is_the_pre_trained_model(method: str, tiny_bert: Path) -> None:
    ids, mask = torch.tensor([[5, 6, 7, 1]]), torch.ones(1, 4, dtype=torch.long)
    with torch.no_grad():
        base = base_of(tiny_bert)
        before = base.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        model, _ = methods.wrap(base, PeftTable(method=method, rank=4), public_name="x", seed=7)
        after = model.get_base_model().backbone(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("method", ["dora", "adalora"])
def test_a_rank_above_the_width_is_refused(method: str, tiny_bert: Path) -> None:
    with pytest.raises(ModelError, match=r"^peft.rank: 33 is above 32"):
        adapted(tiny_bert, method=method, rank=33)


def test_an_adapter_of_another_architecture_is_refused(tiny_bert: Path, tiny_distilbert: Path, tmp_path: Path) -> None:
    model, state = adapted(tiny_bert, method="adapter")
    methods.save_adapter(model, state, tmp_path)
    with pytest.raises(ModelError, match=r"no linear module .*; load the run's own base"):
        methods.load_adapter(base_of(tiny_distilbert), tmp_path)
