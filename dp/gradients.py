"""A parameter's per-example gradients, as rows or as the factors that rows are products of.

Shape suffixes: B examples, L tokens of an example, I inputs, O outputs of a linear layer.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from dp.clipping import squared_norms

_ROUNDING = 1e-6  # of a product of fp32 factors, relative to the sum of its terms' sizes; fp32 itself rounds to 6e-8
_PROBES = 8


class ExampleGradients(Protocol):
    """One gradient for each example of a physical batch, for one parameter."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(batch, *parameter)."""
        ...

    def rows(self) -> Tensor:
        """The gradients themselves, (batch, *parameter), float32."""
        ...

    def squared_norms(self) -> Tensor:
        """Squared L2 norms, (batch,), float64, never below those of what `weighted_sum` adds up."""
        ...

    def weighted_sum(self, factors_B: Tensor, kept_B: Tensor) -> Tensor:
        """Σ factor · gradient over the kept examples; others, NaN perhaps, are not touched. (*parameter), float32."""
        ...

    def gap_to(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """(distance of the sum of all rows from autograd's gradient, a scale to judge it by); scalars."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The gradients, written out.

    Args: values: (batch, *parameter), float32.
    """

    values: Tensor = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """See `ExampleGradients`."""
        return tuple(self.values.shape)

    def rows(self) -> Tensor:
        """See `ExampleGradients`."""
        return self.values

    def squared_norms(self) -> Tensor:
        """See `ExampleGradients`."""
        return squared_norms(self.values)

    def weighted_sum(self, factors_B: Tensor, kept_B: Tensor) -> Tensor:
        """See `ExampleGradients`."""
        flat = self.values.flatten(1)
        if not bool(kept_B.all()):
            flat, factors_B = flat[kept_B], factors_B[kept_B]
        return (factors_B @ flat).reshape(self.values.shape[1:])

    def gap_to(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """See `ExampleGradients`."""
        flat, whole = self.values.flatten(1), gradient.float().flatten()
        return (
            torch.linalg.vector_norm(flat.sum(dim=0) - whole),
            torch.linalg.vector_norm(flat, dim=1).sum() + torch.linalg.vector_norm(whole),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Factors:
    """A linear layer's weight gradients as Σₗ backprop ⊗ input, never written out: "ghost" clipping.

    Norms come from Gram matrices, ‖Σₗ bₗ aₗᵀ‖² = Σₗₘ (aₗ·aₘ)(bₗ·bₘ), in float64 because the terms may cancel. The
    clipped sum is one matrix product of the same factors, so that no second backward pass is needed.
    Source: Goodfellow 2015; Li et al. 2022, section 4; Bu et al. 2023 (book-keeping).

    Args: inputs: (B, L, I); backprops: (B, L, O); float32.
    """

    inputs: Tensor = field(repr=False)
    backprops: Tensor = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """See `ExampleGradients`."""
        return (self.inputs.shape[0], self.backprops.shape[2], self.inputs.shape[2])

    def rows(self) -> Tensor:
        """See `ExampleGradients`."""
        return torch.bmm(self.backprops.transpose(1, 2), self.inputs)

    def squared_norms(self) -> Tensor:
        """See `ExampleGradients`; rounded up by what fp32 may add to the sum."""
        in_BLI, out_BLO = self.inputs.double(), self.backprops.double()
        gram_BLL = torch.bmm(in_BLI, in_BLI.transpose(1, 2)) * torch.bmm(out_BLO, out_BLO.transpose(1, 2))
        terms_B = (in_BLI.norm(dim=2) * out_BLO.norm(dim=2)).sum(dim=1)
        # `clamp` keeps NaN, so that an example that is not finite stays recognisable.
        exact_B = gram_BLL.sum(dim=(1, 2)).clamp(min=0).sqrt()
        norms: Tensor = (exact_B + _ROUNDING * terms_B).square()
        return norms

    def weighted_sum(self, factors_B: Tensor, kept_B: Tensor) -> Tensor:
        """See `ExampleGradients`."""
        in_BLI, out_BLO = self.inputs, self.backprops
        if not bool(kept_B.all()):
            in_BLI, out_BLO, factors_B = in_BLI[kept_B], out_BLO[kept_B], factors_B[kept_B]
        return (out_BLO * factors_B[:, None, None]).flatten(0, 1).T @ in_BLI.flatten(0, 1)

    def gap_to(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """See `ExampleGradients`; estimated through a few random rank-one probes uᵀ G v."""
        generator = torch.Generator().manual_seed(0)  # probes are no secret: nobody chooses their gradients against us
        outputs, inputs = self.shape[1:]
        u, v = (torch.randn(n, _PROBES, generator=generator).to(gradient.device) for n in (outputs, inputs))
        summed = ((self.backprops @ u) * (self.inputs @ v)).sum(dim=(0, 1))
        missed = summed - (u * (gradient.float() @ v)).sum(dim=0)
        scale = self.squared_norms().sqrt().float().sum() + torch.linalg.vector_norm(gradient.float())
        return missed.square().mean().sqrt(), scale
