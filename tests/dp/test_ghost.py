import pytest
import torch
from torch import nn

from dp.capture import Capture
from dp.ghost import ghost_pays
from dp.gradients import Factors, Rows
from dp.persample import wrap
from dp.trial import tried


@pytest.mark.parametrize(
    ("tokens", "inputs", "outputs", "pays"),
    [
        (32, 384, 8, False),  # a LoRA factor
        (1, 384, 8, False),
        (1, 768, 2, False),  # a head of two classes
        (1, 768, 768, True),  # the dense layer of RoBERTa's head
        (32, 768, 768, True),
        (64, 768, 3072, True),
        (512, 768, 768, False),  # long texts
    ],
)
def test_large_layers_on_short_texts_pay(tokens, inputs, outputs, pays):
    assert ghost_pays(batch=32, tokens=tokens, inputs=inputs, outputs=outputs) is pays


def test_a_single_example_does_not_pay_where_a_batch_does():
    assert ghost_pays(batch=32, tokens=8, inputs=384, outputs=384)
    assert not ghost_pays(batch=1, tokens=8, inputs=384, outputs=384)


def squares(model, x):
    return model(x).square().flatten(1).mean(dim=1)


def test_the_rule_decides_layer_by_layer_and_the_trial_says_so():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 300), nn.Linear(300, 2))
    module = wrap(model)
    with torch.no_grad():
        model[0].weight.div_(10)
    capture = Capture(model, module.strategy.rules, module.strategy.keep_factors)
    with capture.watching():
        squares(model, torch.randn(32, 300)).sum().backward()
    found = capture.take(module.trainable(), 32)
    assert {name: type(gradients) for name, gradients in found.items()} == {
        "0.weight": Factors,
        "0.bias": Rows,
        "1.weight": Rows,
        "1.bias": Rows,
    }
    model.zero_grad(set_to_none=True)
    reason = tried(module, torch.randn(3, 300), squares, physical_batch=32).reason
    assert reason.endswith("1 of 4 parameters by ghost clipping")
    assert "ghost" not in tried(module, torch.randn(3, 300), squares, physical_batch=1).reason


def test_a_frozen_weight_with_a_trained_bias_needs_no_factors():
    layer = nn.Linear(600, 600)
    layer.weight.requires_grad_(False)
    module = wrap(layer)
    _, found = module.strategy.gradients(layer, torch.randn(32, 600), squares)
    assert {name: type(gradients) for name, gradients in found.items()} == {"bias": Rows}
