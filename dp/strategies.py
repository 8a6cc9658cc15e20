"""How a batch's gradients are clipped one by one: by hooks, all at once, or by batches of one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from dp.capture import Capture, FactorRule, refuse_unexplained
from dp.clipping import clip_factors, per_example_norms
from dp.errors import NotPerExample
from dp.ghost import ghost_pays
from dp.gradients import ExampleGradients
from dp.rules import GradientRule

Batch = TypeVar("Batch")
PerExampleLoss = Callable[[Any, Batch], Tensor]
"""(model, batch) → one loss for each example, shape (batch,); no example's loss may depend on another example."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClippedBatch:
    """One physical batch. Sensitive: not yet noised.

    Args: sums: parameter name → Σ clip(gᵢ), float32. norms, losses: (batch,); not finite for examples left out.
    """

    sums: dict[str, Tensor] = field(repr=False)
    norms: Tensor = field(repr=False)
    losses: Tensor = field(repr=False)


class ClippingStrategy(Protocol):
    """Clips each example's gradient over all trainable parameters together, and adds them up.

    Guarantee of every strategy: norms, clipping and sums in fp32 or better under any autocast; one gradient for each
        example or NotPerExample; an example whose gradient is not finite contributes nothing.
    """

    @property
    def name(self) -> str:
        """As the log shows it."""
        ...

    def clip(self, model: nn.Module, batch: Any, loss: PerExampleLoss[Any], *, clip_norm: float) -> ClippedBatch:
        """Args: batch: may be empty. loss: (model, batch) → (batch,). clip_norm: C > 0."""
        ...

    def parameter_norms(self, model: nn.Module, batch: Any, loss: PerExampleLoss[Any]) -> dict[str, Tensor]:
        """Parameter name → each example's norm of its gradient, (batch,), float64. Sensitive: not clipped, not noised.

        Args: batch: not empty. loss: (model, batch) → (batch,).
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ByHooks:
    """One forward and one backward pass for the whole batch; exact rules for each layer.

    Args: rules: layer type → exact rule. keep_factors: which linear layers are clipped as "ghosts" (`dp.ghost`).
    """

    rules: Mapping[type[nn.Module], GradientRule] = field(repr=False)
    keep_factors: FactorRule = field(default=ghost_pays, repr=False)
    name: str = "hooks"

    def clip(self, model: nn.Module, batch: Any, loss: PerExampleLoss[Any], *, clip_norm: float) -> ClippedBatch:
        """See `ClippingStrategy`."""
        losses, gradients = self.gradients(model, batch, loss)
        norms_B = torch.stack([g.squared_norms() for g in gradients.values()]).sum(dim=0).sqrt()
        factors_B, finite_B = clip_factors(norms_B, clip_norm=clip_norm), torch.isfinite(norms_B)
        sums = {name: g.weighted_sum(factors_B, finite_B) for name, g in gradients.items()}
        return ClippedBatch(sums=sums, norms=norms_B, losses=losses)

    def parameter_norms(self, model: nn.Module, batch: Any, loss: PerExampleLoss[Any]) -> dict[str, Tensor]:
        """See `ClippingStrategy`."""
        _, gradients = self.gradients(model, batch, loss)
        return {name: g.squared_norms().sqrt() for name, g in gradients.items()}

    def gradients(
        self, model: nn.Module, batch: Any, loss: PerExampleLoss[Any]
    ) -> tuple[Tensor, dict[str, ExampleGradients]]:
        """(losses, parameter name → one gradient for each example), checked against autograd's own sum.

        Raises: NotPerExample; UnsupportedParameter.
        """
        trainable, capture = trainable_parameters(model), Capture(model, self.rules, self.keep_factors)
        try:
            with capture.watching():
                losses_B = backward(model, batch, loss)
            found = capture.take(trainable, losses_B.shape[0])
            refuse_unexplained(trainable, found)
        finally:
            clear_gradients(model)
        return losses_B.detach(), found


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ByMicrobatches:
    """A forward and a backward pass for each example: exact for whatever autograd can do, slow, and small in memory.

    Args: split: batch → batches of one.
    """

    split: Callable[[Any], list[Any]] = field(repr=False)
    name: str = "microbatches"

    def clip(self, model: nn.Module, batch: Any, loss: PerExampleLoss[Any], *, clip_norm: float) -> ClippedBatch:
        """See `ClippingStrategy`."""
        trainable = trainable_parameters(model)
        sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in trainable.items()}
        norms, losses = [], []
        for loss_1, rows in self._one_by_one(model, batch, loss):
            norm_1 = per_example_norms(rows.values()) if rows else loss_1.double() * 0
            if bool(torch.isfinite(norm_1)):
                factor = clip_factors(norm_1, clip_norm=clip_norm)
                for name, row in rows.items():
                    sums[name] += factor * row[0]
            norms.append(norm_1)
            losses.append(loss_1)
        device = next(iter(trainable.values())).device
        empty = torch.zeros(0, device=device)
        return ClippedBatch(sums=sums, norms=torch.cat([empty.double(), *norms]), losses=torch.cat([empty, *losses]))

    def parameter_norms(self, model: nn.Module, batch: Any, loss: PerExampleLoss[Any]) -> dict[str, Tensor]:
        """See `ClippingStrategy`."""
        found: dict[str, list[Tensor]] = {name: [] for name in trainable_parameters(model)}
        for loss_1, rows in self._one_by_one(model, batch, loss):
            for name, norms in found.items():
                norms.append(per_example_norms([rows[name]]) if name in rows else loss_1.double() * 0)
        return {name: torch.cat(norms) for name, norms in found.items()}

    def _one_by_one(
        self, model: nn.Module, batch: Any, loss: PerExampleLoss[Any]
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """(loss, parameter name → gradient) of each example, both with a batch dimension of one."""
        trainable = trainable_parameters(model)
        for example in self.split(batch):
            try:
                loss_1 = backward(model, example, loss)
                if loss_1.shape[0] != 1:
                    raise NotPerExample(f"a batch of one has {loss_1.shape[0]} losses; give `wrap` a fitting `split`")
                rows = {name: p.grad.float()[None] for name, p in trainable.items() if p.grad is not None}
            finally:
                clear_gradients(model)
            yield loss_1.detach(), rows


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns the trainable parameters by name, in the model's order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def backward(model: nn.Module, batch: Batch, loss: PerExampleLoss[Batch]) -> Tensor:
    """Runs the model forth and back from the sum of the losses, and returns these, shape (batch,).

    Raises: NotPerExample for a loss that is not one value for each example.
    """
    clear_gradients(model)
    losses_B = loss(model, batch)
    if losses_B.dim() != 1:
        raise NotPerExample(
            f"the loss has shape {tuple(losses_B.shape)}, not (batch,): a mean over the batch couples its examples; "
            "return one loss for each example (reduction='none', then a mean over the example's own tokens)"
        )
    losses_B.sum().backward()  # type: ignore[no-untyped-call]
    return losses_B


def clear_gradients(model: nn.Module) -> None:
    """Leaves no gradient on a shared model."""
    for parameter in trainable_parameters(model).values():
        parameter.grad = None
