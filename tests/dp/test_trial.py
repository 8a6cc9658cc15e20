"""The trial finds hooks that do not fit, and leaves a model as it was; see also the contract in test_strategies."""

import pytest
import torch
from torch import nn

from dp.errors import BatchCoupled
from dp.persample import wrap
from dp.trial import tried


def squares(model, x):
    return model(x).square().flatten(1).mean(dim=1)


def test_parameters_that_start_at_zero_do_not_hide_a_wrong_rule():
    """LoRA's B, and a head, at zero: the gradients of what lies before them are zero, and any rule would be right."""

    def wrong(layer, inputs, backprops):
        return {layer.weight: 2 * torch.einsum("blo,bli->boi", backprops, inputs[0])}

    class First(nn.Linear):
        pass

    torch.manual_seed(0)
    model = nn.Sequential(First(4, 3, bias=False), nn.Linear(3, 1, bias=False))
    nn.init.zeros_(model[1].weight)
    module = tried(wrap(model, rules={First: wrong}), torch.randn(3, 2, 4), squares, physical_batch=8)
    assert module.strategy.name == "microbatches"
    assert not model[1].weight.any()


def test_the_deviation_is_named():
    def wrong(layer, inputs, backprops):
        return {layer.weight: 1.01 * torch.einsum("bo,bi->boi", backprops, inputs[0])}

    torch.manual_seed(0)
    module = wrap(nn.Linear(4, 3, bias=False), rules={nn.Linear: wrong})
    assert tried(module, torch.randn(3, 4), squares, physical_batch=8).reason == (
        "hooks deviate from one example at a time by 0.01 on a public batch"
    )


def test_a_coupled_loss_is_refused_whatever_the_strategy():
    def coupled(model, x):
        return squares(model, x) * x.shape[0]

    for module in (wrap(nn.Linear(4, 3)), wrap(nn.Linear(4, 3)).in_microbatches("for the test")):
        with pytest.raises(BatchCoupled):
            tried(module, torch.randn(3, 4), coupled, physical_batch=8)


def test_parameters_come_back_even_after_an_error():
    model = nn.Linear(4, 3)
    before = model.weight.detach().clone()

    def broken(model, x):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        tried(wrap(model), torch.randn(3, 4), broken, physical_batch=8)
    assert torch.equal(model.weight, before)
