"""The core of DP-SGD: one noised sum of clipped per-example gradients over one Poisson sample.

Shape suffixes: B examples of a physical batch.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from dp.clipping import require_clip_norm
from dp.errors import InvalidParameter, NothingTrained
from dp.events import require_noise_multiplier
from dp.noise import Gaussian
from dp.persample import PerExampleModule, refuse_batch_coupled
from dp.strategies import PerExampleLoss, backward, clear_gradients

Batch = TypeVar("Batch")


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivateDiagnostics:
    """Counts over the sample. Sensitive: exact counts and losses are private data; never send or log them."""

    examples: int = field(repr=False)
    clipped: int = field(repr=False)
    non_finite: int = field(repr=False)
    loss_sum: float = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NoisySum:
    """What may be released (`sums`), and what may not (`private`).

    `sums`: parameter name → Σ clip(gᵢ) + N(0, (σC)²), float32, in the model's order.
    """

    sums: dict[str, Tensor] = field(repr=False)
    private: PrivateDiagnostics


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlainSum:
    """A sum of gradients *without* any privacy, for ε = ∞."""

    sums: dict[str, Tensor] = field(repr=False)
    private: PrivateDiagnostics


def noisy_sum(
    module: PerExampleModule,
    physical_batches: Iterable[Batch],
    per_example_loss: PerExampleLoss[Batch],
    *,
    clip_norm: float,
    noise_multiplier: float,
    noise: Gaussian,
) -> NoisySum:
    """Sums the clipped per-example gradients of one Poisson sample and adds Gaussian noise once.

    Guarantee: `sums` is one step of `SampledGaussian(noise_multiplier, …)` under add/remove, whatever the split into
        physical batches; an empty sample gives pure noise. Norms, clipping, sums and noise are fp32 or better under
        any autocast. An example whose gradient is not finite contributes nothing, and is counted.
    Assumes: the batches together are one Poisson sample, each example once; `per_example_loss` uses nothing of one
        example for another (see `dp.oracle.refuse_coupled_loss`); `noise` is secret.
    Does not cover: the division by the sample's size, which is private: divide by a public constant.
    Args: physical_batches: any split of the sample. clip_norm: C > 0. noise_multiplier: σ > 0.
    Raises: NotPerExample; BatchCoupled; InvalidParameter.
    Source: Abadi et al. 2016, Algorithm 1.
    """
    require_clip_norm(clip_norm)
    require_noise_multiplier(noise_multiplier)
    if noise_multiplier == 0:
        raise InvalidParameter("noise_multiplier=0 gives no privacy; call plain_sum, and record a NonPrivate event")
    refuse_batch_coupled(module.model)
    total = _zeros(module)
    tally = _Tally()
    for batch in physical_batches:
        clipped = module.strategy.clip(module.model, batch, per_example_loss, clip_norm=clip_norm)
        for name, value in clipped.sums.items():
            total[name] += value
        tally.saw(clipped.losses)
        tally.clipped_to(clip_norm, clipped.norms)
    stddev = noise_multiplier * clip_norm
    sums = {name: (t.double() + noise.draw(t.shape, stddev).to(t.device)).float() for name, t in total.items()}
    return NoisySum(sums=sums, private=tally.diagnostics())


def plain_sum(
    module: PerExampleModule, physical_batches: Iterable[Batch], per_example_loss: PerExampleLoss[Batch]
) -> PlainSum:
    """Sums the gradients of all examples without clipping or noise, at the cost of a plain backward pass.

    Does not cover: privacy of any kind; charge it as `NonPrivate`.
    Raises: NotPerExample when the loss is not one value for each example.
    """
    total = _zeros(module)
    tally = _Tally()
    for batch in physical_batches:
        try:
            losses_B = backward(module.model, batch, per_example_loss)
            for name, parameter in module.trainable().items():
                if parameter.grad is not None:
                    total[name] += parameter.grad.float()
        finally:
            clear_gradients(module.model)
        tally.saw(losses_B)
    return PlainSum(sums=total, private=tally.diagnostics())


def require_change(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    """Raises NothingTrained if not one value changed: ε would accrue for nothing (opacus #820, peft #3409)."""
    if before.keys() != after.keys() or not before:
        raise NothingTrained("the state before and after the step have different parameters; compare the same adapter")
    if all(torch.equal(before[name], after[name]) for name in before):
        raise NothingTrained(
            "the first step changed no parameter; check that the optimiser holds the adapter's own parameters and that "
            "its learning rate is not 0"
        )


class _Tally:
    def __init__(self) -> None:
        self.examples = self.clipped = self.non_finite = 0
        self.loss_sum = 0.0

    def saw(self, losses_B: Tensor) -> None:
        self.examples += losses_B.shape[0]
        self.loss_sum += float(losses_B.detach().double().sum())

    def clipped_to(self, clip_norm: float, norms_B: Tensor) -> None:
        finite_B = torch.isfinite(norms_B)
        self.clipped += int((norms_B[finite_B] > clip_norm).sum())
        self.non_finite += int((~finite_B).sum())

    def diagnostics(self) -> PrivateDiagnostics:
        return PrivateDiagnostics(
            examples=self.examples, clipped=self.clipped, non_finite=self.non_finite, loss_sum=self.loss_sum
        )


def _zeros(module: PerExampleModule) -> dict[str, Tensor]:
    return {name: torch.zeros_like(p, dtype=torch.float32) for name, p in module.trainable().items()}
