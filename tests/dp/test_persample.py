"""Per-example gradients equal the oracle's, on the model families that we claim; the rest is refused."""

import pytest
import torch
from torch import nn

from dp.errors import NotPerExample, UnsupportedParameter
from dp.oracle import per_example_gradients
from dp.persample import wrap
from dp.rules import EXACT_RULES, whole_layer_rule
from dp.strategies import ByHooks

from .models import TINY, batch_for, example_losses, minilm, with_lora


def captured(module, batch, loss):
    _, found = module.strategy.gradients(module.model, batch, loss)
    return {name: gradients.rows() for name, gradients in found.items()}


def largest_error(found, truth):
    assert list(found) == list(truth)
    return max(float((found[n] - truth[n]).norm() / truth[n].norm().clamp_min(1e-12)) for n in truth)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
def test_bias_layer_norm_and_word_embeddings_equal_the_oracle(name):
    model, batch = TINY[name]()[0].eval(), batch_for(name)
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(
            "position" not in parameter_name
            and "token_type" not in parameter_name
            and ("bias" in parameter_name or "LayerNorm.weight" in parameter_name or "word_emb" in parameter_name)
        )
    truth = per_example_gradients(model, batch, example_losses)
    found = captured(wrap(model), batch, example_losses)
    scale = max(float(rows.norm()) for rows in truth.values())
    assert list(found) == list(truth)
    assert max(float((found[n] - truth[n]).norm()) for n in truth) < 1e-5 * scale


def minilm_losses(model, batch):
    logits = model(batch["input_ids"], batch["attention_mask"])
    return nn.functional.cross_entropy(logits.float(), batch["labels"], reduction="none")


def minilm_losses_bf16(model, batch):
    with torch.autocast("cpu", torch.bfloat16):
        return minilm_losses(model, batch)


def test_real_minilm_equals_the_oracle_and_stays_fp32_under_autocast():
    model, batch = minilm(), batch_for("minilm", size=4, length=12)
    truth = per_example_gradients(model, batch, minilm_losses)
    module = wrap(model)
    assert largest_error(captured(module, batch, minilm_losses), truth) < 1e-5
    rounded = captured(module, batch, minilm_losses_bf16)
    assert {rows.dtype for rows in rounded.values()} == {torch.float32}
    alone = per_example_gradients(model, batch, minilm_losses_bf16)
    assert 1e-4 < largest_error(rounded, truth) < 1.2 * largest_error(alone, truth) < 0.2


def test_rules_run_in_fp32_even_inside_autocast():
    seen = []
    layer = nn.Linear(3, 2)

    def rule(of, inputs, backprops):
        seen.append((inputs[0].dtype, backprops.dtype, torch.is_autocast_enabled("cpu")))
        return {of.weight: torch.zeros(4, 2, 3), of.bias: torch.zeros(4, 2)}

    def loss(of, x):
        with torch.autocast("cpu", torch.bfloat16):
            return of(x).sum(dim=1)

    with pytest.raises(NotPerExample, match="do not add up"), torch.autocast("cpu", torch.bfloat16):
        captured(wrap(layer, rules={nn.Linear: rule}), torch.randn(4, 3), loss)
    assert seen == [(torch.float32, torch.float32, False)]


def test_outside_capturing_the_model_is_untouched():
    model, batch = with_lora("bert"), batch_for("bert")
    before = [dict(m.__dict__) for m in model.modules()]
    module = wrap(model)
    captured(module, batch, example_losses)
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    assert [set(m.__dict__) for m in model.modules()] == [set(old) for old in before]
    assert not any("grad_sample" in p.__dict__ for p in model.parameters())
    assert all(p.grad is None for p in model.parameters())


def test_follows_what_is_trainable():
    model, batch = with_lora("bert"), batch_for("bert")
    module = wrap(model)
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    found = captured(module, batch, example_losses)
    assert found
    assert not any("lora_A" in name for name in found)


def test_the_padding_row_of_an_embedding_gets_no_gradient():
    layer = nn.Embedding(5, 3, padding_idx=0)
    batch = torch.tensor([[0, 1, 2], [0, 0, 3]])

    def loss(of, ids):
        return of(ids).square().sum(dim=(1, 2)) + of(ids).sum(dim=(1, 2))

    truth = per_example_gradients(layer, batch, loss)
    assert not truth["weight"][:, 0].any()
    assert largest_error(captured(wrap(layer), batch, loss), truth) < 1e-6


class RawParameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(x) * self.scale


def test_raw_parameters_without_a_rule_are_trained_in_batches_of_one():
    module = wrap(RawParameter())
    assert module.strategy.name == "microbatches"
    assert "RawParameter" in module.reason
    assert "scale" in module.reason
    with pytest.raises(UnsupportedParameter, match=r"RawParameter.*scale"):
        ByHooks(rules=EXACT_RULES).gradients(module.model, torch.randn(2, 4), lambda of, x: of(x).sum(dim=1))


def test_a_rule_for_a_raw_parameter_is_used():
    def rule(of, inputs, backprops):
        (x,) = inputs
        return {of.scale: backprops * of.inner(x)}

    torch.manual_seed(0)
    model, batch = RawParameter(), torch.randn(3, 4)
    module = wrap(model, rules={RawParameter: rule})
    assert module.strategy.name == "hooks"

    def loss(of, x):
        return of(x).square().sum(dim=1)

    assert largest_error(captured(module, batch, loss), per_example_gradients(model, batch, loss)) < 1e-5


class Formula(nn.Module):
    """Parameters in a dictionary and in a part that is applied twice: no layer of their own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.ParameterDict({"only": nn.Parameter(torch.randn(4))})
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(self.scale["only"] * torch.tanh(self.inner(x)))


def test_a_layer_with_a_formula_of_its_own_is_pulled_back_as_a_whole():
    torch.manual_seed(0)
    model, batch = nn.Sequential(nn.Linear(3, 4), Formula()), torch.randn(5, 7, 3)
    assert wrap(model).strategy.name == "microbatches"
    module = wrap(model, rules={Formula: whole_layer_rule})
    assert module.strategy.name == "hooks"

    def loss(of, x):
        return of(x).square().sum(dim=(1, 2)) + of(2 * x).sum(dim=(1, 2))  # used twice

    truth = per_example_gradients(model, batch, loss)
    assert len(truth) == 5
    assert largest_error(captured(module, batch, loss), truth) < 1e-5
    assert not model[1]._forward_hooks
    nothing = module.strategy.clip(model, batch[:0], loss, clip_norm=1.0)
    assert not any(value.any() for value in nothing.sums.values())


def test_frozen_parts_of_a_whole_layer_get_no_gradient():
    torch.manual_seed(0)
    model, batch = Formula(), torch.randn(5, 7, 4)
    model.inner.requires_grad_(False)
    module = wrap(model, rules={Formula: whole_layer_rule})

    def loss(of, x):
        return of(x).square().sum(dim=(1, 2))

    truth = per_example_gradients(model, batch, loss)
    assert list(truth) == ["scale.only"]
    assert largest_error(captured(module, batch, loss), truth) < 1e-5


def test_a_model_without_trainable_parameters_is_refused():
    with pytest.raises(UnsupportedParameter, match="no trainable"):
        wrap(nn.Linear(2, 2).requires_grad_(False))


def test_an_unused_parameter_is_named():
    model = nn.ModuleDict({"used": nn.Linear(3, 1), "unused": nn.Linear(3, 1)})
    with pytest.raises(NotPerExample, match=r"unused\.weight"):
        captured(wrap(model), torch.randn(2, 3), lambda of, x: of["used"](x)[:, 0])
