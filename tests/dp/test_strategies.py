"""The contract of per-example clipping on layers and models of every kind that `dp` meets."""

import pytest
import torch
from torch import nn

from dp.errors import NotPerExample
from dp.persample import wrap
from dp.sgd import noisy_sum
from dp.strategies import ByMicrobatches
from tests.contracts.per_example import Case, PerExampleContract, WithoutNoise

from .models import TINY, batch_for, example_losses, with_lora


def squares(model, x):
    return model(x).square().flatten(1).mean(dim=1)


class TestLoRA(PerExampleContract):
    @pytest.fixture(params=[(name, variant) for name in TINY for variant in ("lora", "rslora", "ffa")], ids=str)
    def case(self, request):
        name, variant = request.param
        return Case(model=with_lora(name, variant=variant), batch=batch_for(name), loss=example_losses)


class TestLinearLayers(PerExampleContract):
    def make(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.LayerNorm(40), nn.Linear(40, 3, bias=False))
        return Case(model=model, batch=torch.randn(4, 5, 6), loss=squares)


class TestOneTokenAnExample(PerExampleContract):
    def make(self):
        torch.manual_seed(0)
        return Case(model=nn.Linear(6, 3), batch=torch.randn(4, 6), loss=squares)


class Twice(nn.Module):
    """One layer used twice, and one parameter in two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.tanh(self.first(torch.tanh(self.first(x)))))


class TestReusedAndTiedLayers(PerExampleContract):
    def make(self):
        torch.manual_seed(0)
        return Case(model=Twice(), batch=torch.randn(5, 3, 4), loss=squares)


class Raw(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(x) * self.scale


class TestRawParameters(PerExampleContract):
    def make(self):
        torch.manual_seed(0)
        return Case(model=Raw(), batch=torch.randn(4, 4), loss=squares, strategy="microbatches")


class Positions(nn.Module):
    """As Hugging Face does it: position ids of shape (1, length) are broadcast over the batch."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Embedding(8, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.tanh(x + self.positions(torch.arange(x.shape[1])[None])))


class TestBroadcastParameters(PerExampleContract):
    def make(self):
        torch.manual_seed(0)
        return Case(model=Positions(), batch=torch.randn(4, 5, 4), loss=squares, strategy="microbatches")


class FunctionalUse(nn.Module):
    """The weight also acts where no layer is called, which hooks cannot see."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4, bias=False)

    def forward(self, x):
        return nn.functional.linear(torch.tanh(self.layer(x)), self.layer.weight)


class TestUsesThatNoHookSees(PerExampleContract):
    def make(self):
        torch.manual_seed(0)
        return Case(model=FunctionalUse(), batch=torch.randn(6, 4), loss=squares, strategy="microbatches")


class Lookalike(nn.Linear):
    """A layer of another type, with the rule of its parent: wrong by a factor."""

    def forward(self, x):
        return super().forward(x) * (1 + x.mean(dim=-1, keepdim=True))


class TestARuleThatDoesNotFit(PerExampleContract):
    def make(self):
        def half(layer, inputs, backprops):
            return {layer.weight: 0.98 * torch.einsum("bo,bi->boi", backprops, inputs[0])}

        torch.manual_seed(0)
        model = nn.Linear(4, 3, bias=False)
        batch = torch.randn(4, 4)
        return Case(model=model, batch=batch, loss=squares, rules={nn.Linear: half}, strategy="microbatches")


def test_a_subclass_does_not_inherit_its_parents_rule():
    assert wrap(Lookalike(4, 2)).strategy.name == "microbatches"


def test_microbatches_refuse_batches_that_are_not_of_one():
    module = wrap(nn.Linear(3, 1), split=lambda batch: [batch]).in_microbatches("for the test")
    with pytest.raises(NotPerExample, match="a batch of one has 4 losses"):
        noisy_sum(module, [torch.randn(4, 3)], squares, clip_norm=1.0, noise_multiplier=1.0, noise=WithoutNoise())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_microbatches_leave_out_what_is_not_finite(bad):
    torch.manual_seed(0)
    x = torch.randn(5, 3)
    module = wrap(nn.Linear(3, 1)).in_microbatches("for the test")
    good = noisy_sum(module, [x[:4]], squares, clip_norm=1.0, noise_multiplier=1.0, noise=WithoutNoise())
    x[4] = bad
    found = noisy_sum(module, [x], squares, clip_norm=1.0, noise_multiplier=1.0, noise=WithoutNoise())
    assert torch.equal(found.sums["weight"], good.sums["weight"])
    assert (found.private.examples, found.private.non_finite) == (5, 1)


def test_microbatches_take_empty_batches():
    module = wrap(nn.Linear(3, 1)).in_microbatches("for the test")
    clipped = module.strategy.clip(module.model, torch.randn(0, 3), squares, clip_norm=1.0)
    assert isinstance(module.strategy, ByMicrobatches)
    assert clipped.norms.shape == clipped.losses.shape == (0,)
    assert not clipped.sums["weight"].any()
