"""LoRA-XS: factors that follow from the base model alone, a core that is all that trains, and a file that is LoRA's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch import nn

from fedpeft_secure import methods, models
from fedpeft_secure.adapters import AdapterState, Role
from fedpeft_secure.config import ModelConfig, PeftTable
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods.lora_xs import top_singular_vectors

QUERY = "backbone.encoder.layer.1.attention.self.query"
IDS, MASK = torch.tensor([[5, 6, 7, 1], [8, 9, 1, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
MODELS = ("tiny_bert", "tiny_roberta", "tiny_distilbert", "tiny_t5")


def base_of(path: Path) -> nn.Module:
    return models.load_classifier(ModelConfig(name=str(path)), num_labels=2, seed=1)


def adapted(path: Path, *, seed: int = 7, rank: int = 3) -> tuple[methods.AdaptedModel, AdapterState]:
    """A model with random cores and a random head."""
    table = PeftTable(method="lora_xs", rank=rank, alpha=6.0)
    model, spec = methods.wrap(base_of(path), table, public_name="org/public", seed=seed)
    assert spec == methods.spec_of(model)
    rng, start = np.random.default_rng(0), methods.read_state(model)
    state = AdapterState({name: rng.standard_normal(value.shape) for name, value in start.values.items()})
    methods.write_state(model, state)
    return model.eval(), state


def logits_of(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS, attention_mask=MASK).logits
    return found


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (20, 20)])
@pytest.mark.parametrize("rank", [1, 5, 20])
def test_the_factors_are_the_strongest_singular_vectors(shape: tuple[int, int], rank: int) -> None:
    weight = np.random.default_rng(0).standard_normal(shape)
    left, right = top_singular_vectors(weight, rank)
    u, values, v = np.linalg.svd(weight)
    assert np.allclose(left.T @ weight @ right.T, np.diag(values[:rank]), atol=1e-8)
    assert np.allclose(left.T @ left, np.eye(rank), atol=1e-12)
    assert np.allclose(right @ right.T, np.eye(rank), atol=1e-12)
    assert np.allclose(np.abs(np.diag(left.T @ u[:, :rank])), 1)
    assert np.allclose(np.abs(np.diag(right @ v[:rank].T)), 1)


def test_signs_are_those_of_a_convention_and_not_of_the_machine() -> None:
    weight = np.random.default_rng(0).standard_normal((12, 9))
    left, right = top_singular_vectors(weight, 4)
    mirrored, same = top_singular_vectors(-weight, 4)
    assert np.allclose(left, mirrored)
    assert np.allclose(right, -same)
    assert (np.take_along_axis(left, np.abs(left).argmax(axis=0)[None], axis=0) > 0).all()


def test_a_weight_of_smaller_rank_has_no_such_factors(tiny_bert: Path) -> None:
    """Their directions would be rounding, and differ between machines."""
    base = base_of(tiny_bert)
    with torch.no_grad():
        base.get_submodule(QUERY).weight[2:] = 0
    table = PeftTable(method="lora_xs", rank=3)
    with pytest.raises(ModelError, match=rf"^peft.rank: 3 is above the rank of .*{QUERY}; use less"):
        methods.wrap(base, table, public_name="x", seed=7)


def test_the_layers_answer_is_the_papers(tiny_bert: Path) -> None:
    model, state = adapted(tiny_bert)
    layer = base_of(tiny_bert).get_submodule(QUERY)
    w, bias = layer.weight.detach().double().numpy(), layer.bias.detach().numpy()
    u, _, v = np.linalg.svd(w)
    core = state[f"base_model.model.{QUERY}.lora_B.core.weight"]
    signs = np.sign(u[np.abs(u).argmax(axis=0), np.arange(len(u))])[:3]
    delta = 6.0 / 3 * (u[:, :3] * signs) @ core @ (signs[:, None] * v[:3])
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = model.get_submodule(f"base_model.model.{QUERY}")(x).numpy()
    assert np.allclose(found, x.numpy() @ (w + delta).T + bias, atol=1e-4)
    assert np.abs(x.numpy() @ delta.T).max() > 0.1


@pytest.mark.parametrize("architecture", MODELS)
def test_cores_and_head_are_all_that_trains(architecture: str, request: pytest.FixtureRequest) -> None:
    model, state = adapted(request.getfixturevalue(architecture))
    spec = methods.spec_of(model)
    trainable = {methods.public_name(name) for name, value in model.named_parameters() if value.requires_grad}
    assert trainable == set(spec.names) == set(state.values)
    assert not spec.modules, "the fixed factors are neither sent nor averaged"
    assert {entry.shape for entry in spec.only((Role.BODY,)).entries} == {(3, 3)}
    before = logits_of(model)
    for name in spec.names:
        moved = state[name] + 0.5 * np.random.default_rng(1).standard_normal(state[name].shape)
        methods.write_state(model, state.replace({name: moved}))
        assert not torch.equal(logits_of(model), before), name
        methods.write_state(model, state)


def test_it_starts_as_the_model_that_it_was_and_needs_no_seed(tiny_bert: Path) -> None:
    base = base_of(tiny_bert)
    with torch.no_grad():
        before = base.backbone(input_ids=IDS, attention_mask=MASK).last_hidden_state
        table = PeftTable(method="lora_xs", rank=3)
        model, _ = methods.wrap(base, table, public_name="x", seed=7)
        after = model.get_base_model().backbone(input_ids=IDS, attention_mask=MASK).last_hidden_state
    assert torch.equal(before, after)
    one, other = (logits_of(adapted(tiny_bert, seed=seed)[0]) for seed in (7, 8))
    assert torch.equal(one, other)


@pytest.mark.parametrize("architecture", MODELS)
def test_the_file_is_plain_loras_and_peft_reads_it(
    architecture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path: Path = request.getfixturevalue(architecture)
    model, state = adapted(path)
    methods.save_adapter(model, state, tmp_path)
    theirs = PeftModel.from_pretrained(base_of(path), str(tmp_path))
    assert torch.allclose(logits_of(theirs), logits_of(model), atol=1e-5)
    assert torch.equal(logits_of(methods.load_adapter(base_of(path), tmp_path)), logits_of(theirs))
    assert not torch.allclose(logits_of(theirs), logits_of(base_of(path)), atol=1e-2)
    assert methods.read_state(model).digest() == state.digest(), "writing leaves the model as it was"


def test_a_rank_above_the_width_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(ModelError, match=r"^peft.rank: 33 is above 32"):
        adapted(tiny_bert, rank=33)
