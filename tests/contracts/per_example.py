"""What must hold of every (method × model): whatever strategy is chosen, it clips what the oracle clips."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dp.noise import SeededGaussian
from dp.oracle import largest_deviation, per_example_gradients, refuse_coupled_loss, split_examples
from dp.persample import PerExampleModule, wrap
from dp.sgd import noisy_sum
from dp.strategies import ByHooks, ByMicrobatches
from dp.trial import tried

TOLERANCE = 1e-4
"""Largest deviation from the oracle that we claim, relative to the norm of the example's gradient."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model with all that the suite needs.

    batch: at least three different examples. loss: (model, batch) → (batch,), in fp32. strategy: the expected one.
    """

    model: nn.Module
    batch: Any
    loss: Callable[[Any, Any], Tensor]
    strategy: str = "hooks"
    split: Callable[[Any], list[Any]] = split_examples
    rules: Any = None

    def wrapped(self) -> PerExampleModule:
        return tried(wrap(self.model, rules=self.rules, split=self.split), self.batch, self.loss, physical_batch=32)


def always(*, batch: int, tokens: int, inputs: int, outputs: int) -> bool:
    return True


def never(*, batch: int, tokens: int, inputs: int, outputs: int) -> bool:
    return False


def variants(module: PerExampleModule) -> Iterator[PerExampleModule]:
    """The chosen strategy; where it is by hooks, rows only, factors wherever possible, and batches of one as well."""
    yield module
    if isinstance(module.strategy, ByHooks):
        for keep in (never, always):
            yield replace(module, strategy=replace(module.strategy, keep_factors=keep))
        yield module.in_microbatches("for comparison")


class WithoutNoise:
    label = "simulation"

    def draw(self, shape: Any, stddev: float) -> Tensor:
        return torch.zeros(tuple(shape), dtype=torch.float64)


def clipped_sum(module: PerExampleModule, batches: list[Any], case: Case, clip_norm: float) -> dict[str, Tensor]:
    found = noisy_sum(module, batches, case.loss, clip_norm=clip_norm, noise_multiplier=1.0, noise=WithoutNoise())
    return found.sums


def by_hand(truth: dict[str, Tensor], clip_norm: float) -> dict[str, Tensor]:
    """Algorithm 1 of Abadi et al. 2016, in float64."""
    norms = norms_of(truth)
    factors = (clip_norm / norms).clamp(max=1)
    return {name: torch.tensordot(factors, rows.double(), dims=1) for name, rows in truth.items()}


def norms_of(truth: dict[str, Tensor]) -> Tensor:
    return torch.stack([rows.flatten(1).double().square().sum(dim=1) for rows in truth.values()]).sum(dim=0).sqrt()


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(sum((one[name].double() - other[name].double()).square().sum() for name in other) ** 0.5)


@contextmanager
def moved(model: nn.Module, *, std: float = 0.2) -> Iterator[None]:
    """Away from the start, where zeros hide half of the gradients."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in parameters]
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in parameters:
            p.add_(std * torch.randn(p.shape, generator=generator))
        yield
        for p, old in zip(parameters, before, strict=True):
            p.copy_(old)


class PerExampleContract:
    """Override `make`, or the fixture `case` where there are several."""

    def make(self) -> Case:
        raise NotImplementedError

    @pytest.fixture
    def case(self) -> Case:
        return self.make()

    def test_the_expected_strategy_is_chosen_and_says_why(self, case):
        module = case.wrapped()
        assert module.strategy.name == case.strategy
        assert module.reason in module.description
        assert module.reason

    def test_the_trial_leaves_no_trace(self, case):
        before = {name: p.detach().clone() for name, p in case.model.named_parameters()}
        case.wrapped()
        assert all(torch.equal(p, before[name]) for name, p in case.model.named_parameters())
        assert all(p.grad is None for p in case.model.parameters())
        assert not any(m._forward_hooks or m._backward_hooks for m in case.model.modules())

    def test_every_examples_gradient_is_the_oracles(self, case):
        module = case.wrapped()
        with moved(case.model), torch.enable_grad():
            truth = per_example_gradients(case.model, case.batch, case.loss, split=case.split)
            assert norms_of(truth).min() > 0
            for each in variants(module):
                by_parameter = each.strategy.parameter_norms(case.model, case.batch, case.loss)
                for name, rows in truth.items():
                    gap = (by_parameter[name] - rows.flatten(1).double().norm(dim=1)).abs()
                    assert (gap <= TOLERANCE * norms_of(truth)).all()
                if isinstance(each.strategy, ByMicrobatches):
                    norms = each.strategy.clip(case.model, case.batch, case.loss, clip_norm=1.0).norms
                    assert torch.allclose(norms, norms_of(truth), rtol=TOLERANCE)
                    continue
                _, found = each.strategy.gradients(case.model, case.batch, case.loss)
                assert largest_deviation({name: g.rows() for name, g in found.items()}, truth) <= TOLERANCE

    def test_the_clipped_sum_is_algorithm_1_on_the_oracles_gradients(self, case):
        module = case.wrapped()
        with moved(case.model), torch.enable_grad():
            truth = per_example_gradients(case.model, case.batch, case.loss, split=case.split)
            clip_norm = float(norms_of(truth).median()) * 1.001
            expected, examples = by_hand(truth, clip_norm), case.split(case.batch)
            for each in variants(module):
                for batches in ([case.batch], examples):
                    found = clipped_sum(each, batches, case, clip_norm)
                    assert distance(found, expected) <= 3 * TOLERANCE * clip_norm

    def test_no_example_moves_the_sum_by_more_than_the_clip_norm(self, case):
        module = case.wrapped()
        with moved(case.model), torch.enable_grad():
            truth = per_example_gradients(case.model, case.batch, case.loss, split=case.split)
            clip_norm, examples = 0.3 * float(norms_of(truth).min()), case.split(case.batch)
            for each in variants(module):
                whole = clipped_sum(each, [case.batch], case, clip_norm)
                without = clipped_sum(each, examples[1:], case, clip_norm)
                assert distance(whole, without) == pytest.approx(clip_norm, rel=3 * TOLERANCE)

    def test_the_noise_has_the_scale_that_is_accounted_for(self, case):
        import numpy as np

        module = case.wrapped()
        source = SeededGaussian(np.random.default_rng(0))
        noisy = noisy_sum(module, [], case.loss, clip_norm=0.5, noise_multiplier=3.0, noise=source)
        values = torch.cat([value.flatten() for value in noisy.sums.values()])
        assert float(values.std()) == pytest.approx(1.5, abs=5 * 1.5 / (2 * values.numel()) ** 0.5)

    def test_the_loss_does_not_couple_examples(self, case):
        refuse_coupled_loss(case.model, case.batch, case.loss, split=case.split)
