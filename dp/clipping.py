"""Clipping to an L2 norm: what bounds one privacy unit's influence. Norms are taken in fp32 or better."""

from collections.abc import Iterable

import torch
from torch import Tensor

from dp.errors import InvalidParameter, NonFiniteUpdate

SMALLEST_CLIP_NORM = 1e-6
_MARGIN = 1e-6  # clipped vectors end this much below the bound, so that fp32 rounding cannot lift them above it


def clip_l2(vector: Tensor, *, clip_norm: float) -> Tensor:
    """Scales `vector` to L2 norm at most `clip_norm`.

    Guarantee: add/remove sensitivity ≤ clip_norm, up to dtype rounding.
    Assumes: one vector per privacy unit.
    Does not cover: rounding in the codec.
    Args: vector: shape (dim,), finite. clip_norm: > 0, in the vector's unit.
    Raises: NonFiniteUpdate; InvalidParameter.
    Source: Abadi et al. 2016, Algorithm 1.
    """
    require_clip_norm(clip_norm)
    norm = torch.linalg.vector_norm(vector, dtype=torch.float64)
    if not torch.isfinite(norm):
        raise NonFiniteUpdate("the update holds NaN or Inf, or its norm overflows; drop it, or lower the learning rate")
    if norm <= clip_norm:
        return vector.clone()
    factor: Tensor = (clip_norm * (1 - _MARGIN) / norm).to(vector.dtype)
    return vector * factor


def squared_norms(gradients: Tensor) -> Tensor:
    """Returns each example's squared L2 norm.

    Squares are taken in float64: in fp32 those of tiny gradients vanish, and what has no norm is not clipped.

    Args: gradients: of one parameter, shape (batch, *parameter).
    Returns: float64, shape (batch,); NaN or Inf exactly where an example's gradient is not finite or overflows.
    """
    norms: Tensor = torch.linalg.vector_norm(gradients.flatten(1), dim=1, dtype=torch.float64)
    return norms.square()


def per_example_norms(gradients: Iterable[Tensor]) -> Tensor:
    """Returns each example's L2 norm over all parameters together.

    Args: gradients: one tensor a parameter, each of shape (batch, *parameter).
    Returns: float64, shape (batch,); see `squared_norms`.
    """
    return torch.stack([squared_norms(g) for g in gradients]).sum(dim=0).sqrt()


def clip_factors(norms: Tensor, *, clip_norm: float) -> Tensor:
    """Returns the factor for each example's gradient: min(1, C / norm), and 0 where the norm is not finite.

    Guarantee: factor × norm ≤ clip_norm for every example, the non-finite ones being left out by the caller.
    Args: norms: shape (batch,). clip_norm: C > 0.
    Returns: float32, shape (batch,).
    """
    require_clip_norm(clip_norm)
    bound = clip_norm * (1 - _MARGIN)
    safe = torch.where(norms > bound, bound / norms, torch.ones_like(norms))
    return torch.where(torch.isfinite(norms), safe, torch.zeros_like(norms)).float()


def require_clip_norm(clip_norm: float) -> None:
    """Raises InvalidParameter unless 1e-6 ≤ clip_norm < ∞: below, fp32 sums no longer resolve what is clipped."""
    if not SMALLEST_CLIP_NORM <= clip_norm < float("inf"):
        raise InvalidParameter(f"clip_norm={clip_norm!r} must be finite and at least {SMALLEST_CLIP_NORM:g}")
