"""DP-SGD's core: sensitivity, noise scale, empty samples, guards — each with the naive way that fails silently."""

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from torch import nn

from dp import strategies
from dp.errors import InvalidParameter, NotPerExample
from dp.noise import SecureGaussian, SeededGaussian
from dp.oracle import per_example_gradients, split_examples
from dp.persample import wrap
from dp.sgd import noisy_sum, plain_sum

from .models import batch_for, example_losses, with_lora


class NoNoise:
    label = "simulation"

    def draw(self, shape, stddev):
        return torch.zeros(tuple(shape), dtype=torch.float64)


def clipped_sum(module, batches, loss, *, clip_norm):
    return noisy_sum(module, batches, loss, clip_norm=clip_norm, noise_multiplier=1.0, noise=NoNoise())


def flat(sums):
    return torch.cat([value.flatten() for value in sums.values()])


def by_hand(rows, clip_norm):
    """Algorithm 1 of Abadi et al. 2016 on the oracle's gradients, in float64."""
    matrix = torch.cat([r.flatten(1) for r in rows.values()], dim=1).double()
    norms = matrix.norm(dim=1, keepdim=True)
    return (matrix * (clip_norm / norms).clamp(max=1)).sum(0), norms.flatten()


def linear_losses(model, batch):
    return nn.functional.mse_loss(model(batch["x"]), batch["y"], reduction="none").mean(dim=1)


@pytest.fixture
def linear():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
    return wrap(model), {"x": torch.randn(12, 6), "y": torch.randn(12, 2)}


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "t5"])
def test_equals_algorithm_1_on_the_oracles_gradients(name):
    model, batch = with_lora(name), batch_for(name)
    rows = per_example_gradients(model, batch, example_losses)
    _, norms = by_hand(rows, 1.0)
    clip_norm = 1.001 * float(norms.median())
    expected, _ = by_hand(rows, clip_norm)
    examples = split_examples(batch)
    halves = [{k: torch.cat([e[k] for e in part]) for k in batch} for part in (examples[:2], examples[2:])]
    for batches in ([batch], halves):
        found = clipped_sum(wrap(model), batches, example_losses, clip_norm=clip_norm)
        assert torch.allclose(flat(found.sums).double(), expected, rtol=1e-4, atol=1e-5 * clip_norm)
        assert (found.private.examples, found.private.clipped, found.private.non_finite) == (5, 2, 0)
        assert found.private.loss_sum == pytest.approx(float(example_losses(model, batch).detach().sum()), rel=1e-4)


def influence(module, batch, clip_norm):
    """How far the clipped sum moves when the last example, made huge, is added."""
    extreme = {"x": batch["x"].clone(), "y": batch["y"] * 1.0}
    extreme["x"][-1] *= 50
    extreme["y"][-1] *= 1e4
    without = {key: value[:-1] for key, value in extreme.items()}
    sums = [flat(clipped_sum(module, [b], linear_losses, clip_norm=clip_norm).sums) for b in (extreme, without)]
    return float((sums[0].double() - sums[1].double()).norm())


def test_no_example_moves_the_sum_by_more_than_the_clip_norm(linear, monkeypatch):
    module, batch = linear
    assert influence(module, batch, 0.7) == pytest.approx(0.7, rel=1e-4)
    monkeypatch.setattr(strategies, "clip_factors", lambda norms, clip_norm: torch.ones_like(norms).float())
    assert influence(module, batch, 0.7) > 100


def noise_fits(values, stddev):
    """Accepts N(0, stddev²) by its standard deviation, within five standard errors: rejects 10 % less at n = 24,000."""
    error = stddev / np.sqrt(2 * values.numel())
    return abs(float(values.std(correction=0)) - stddev) < 5 * error and abs(float(values.mean())) < 5 * stddev * (
        values.numel() ** -0.5
    )


@pytest.mark.parametrize("clip_norm", [0.5, 20.0])
@pytest.mark.parametrize("source", [SecureGaussian(), SeededGaussian(np.random.default_rng(3))])
def test_noise_has_the_scale_that_is_accounted_for_and_less_is_noticed(source, clip_norm):
    torch.manual_seed(0)
    module = wrap(nn.Linear(120, 200))
    batch = {"x": torch.randn(4, 120), "y": torch.randn(4, 200)}
    exact = clipped_sum(module, [batch], linear_losses, clip_norm=clip_norm)
    noisy = noisy_sum(module, [batch], linear_losses, clip_norm=clip_norm, noise_multiplier=3.0, noise=source)
    noise = (flat(noisy.sums) - flat(exact.sums)).double()
    assert noise_fits(noise, 3 * clip_norm)
    assert not noise_fits(noise * 0.9, 3 * clip_norm)
    assert not noise_fits(noise * 1.1, 3 * clip_norm)
    assert noisy.sums["weight"].dtype == torch.float32


def test_empty_physical_batches_add_nothing(linear):
    module, batch = linear
    empty = {key: value[:0] for key, value in batch.items()}
    expected = clipped_sum(module, [batch], linear_losses, clip_norm=1.0)
    found = clipped_sum(module, [empty, batch, empty], linear_losses, clip_norm=1.0)
    assert torch.equal(flat(found.sums), flat(expected.sums))
    assert found.private.examples == 12


def test_fresh_noise_every_time(linear):
    module, batch = linear
    first, second = (
        noisy_sum(module, [batch], linear_losses, clip_norm=1.0, noise_multiplier=1.0, noise=SecureGaussian())
        for _ in range(2)
    )
    assert (flat(first.sums) != flat(second.sums)).all()


class UsedTwice(nn.Module):
    """The weight also acts where no layer is called, which hooks cannot see."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4, bias=False)

    def forward(self, x):
        return nn.functional.linear(torch.tanh(self.layer(x)), self.layer.weight)


@pytest.mark.filterwarnings("ignore:Full backward hook")  # Opacus' own
def test_a_use_that_no_hook_sees_is_refused_where_opacus_says_nothing():
    torch.manual_seed(0)
    x, naive = torch.randn(8, 4), GradSampleModule(UsedTwice(), loss_reduction="sum")
    naive(x).square().sum().backward()
    gap = naive.layer.weight.grad_sample.sum(0) - naive.layer.weight.grad
    assert gap.norm() > 0.1 * naive.layer.weight.grad.norm()
    with pytest.raises(NotPerExample, match="do not add up"):
        clipped_sum(wrap(UsedTwice()), [x], lambda of, v: of(v).square().sum(dim=1), clip_norm=1.0)


def test_no_gradient_is_left_on_the_shared_model(linear):
    module, batch = linear
    releases = [
        lambda: clipped_sum(module, [batch], linear_losses, clip_norm=1.0),
        lambda: plain_sum(module, [batch], linear_losses),
    ]
    for release in releases:
        release()
        assert all(p.grad is None for p in module.model.parameters())
    with pytest.raises(NotPerExample):
        clipped_sum(module, [batch], lambda of, b: linear_losses(of, b).mean(), clip_norm=1.0)


def test_plain_sum_is_the_unclipped_sum(linear):
    module, batch = linear
    truth = per_example_gradients(module.model, batch, linear_losses)
    halves = [{k: v[:5] for k, v in batch.items()}, {k: v[5:] for k, v in batch.items()}]
    found = plain_sum(module, halves, linear_losses)
    for name, rows in truth.items():
        assert torch.allclose(found.sums[name], rows.sum(0), atol=1e-5)
    assert (found.private.examples, found.private.clipped) == (12, 0)
    assert not flat(plain_sum(module, [], linear_losses).sums).any()


def test_private_counts_and_sums_stay_out_of_reprs(linear):
    module, batch = linear
    found = clipped_sum(module, [batch], linear_losses, clip_norm=1.0)
    assert "12" not in repr(found)
    assert "tensor" not in repr(found)


@pytest.mark.parametrize(
    "change", [{"clip_norm": 0.0}, {"clip_norm": float("inf")}, {"noise_multiplier": 0.0}, {"noise_multiplier": -1.0}]
)
def test_settings_without_privacy_are_refused(linear, change):
    module, batch = linear
    with pytest.raises(InvalidParameter):
        noisy_sum(
            module,
            [batch],
            linear_losses,
            **({"clip_norm": 1.0, "noise_multiplier": 1.0} | change),
            noise=SecureGaussian(),
        )


def test_an_enormous_finite_gradient_is_clipped_like_any_other(linear):
    module, batch = linear
    huge = {"x": batch["x"].clone(), "y": batch["y"].clone()}
    huge["y"][3] = 1e30
    others = {key: value[torch.arange(12) != 3] for key, value in batch.items()}
    with_it = flat(clipped_sum(module, [huge], linear_losses, clip_norm=1.0).sums)
    without = flat(clipped_sum(module, [others], linear_losses, clip_norm=1.0).sums)
    assert float((with_it - without).norm()) == pytest.approx(1.0, rel=1e-4)
