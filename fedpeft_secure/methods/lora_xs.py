"""LoRA-XS: an r × r core is trained between the top singular vectors of each frozen weight (Bałazy et al. 2024).

ΔW = s·U R Vᵀ, s = α/r; R starts at zero. U and V follow from the base model alone: no data has to be looked at for
them, and nobody sends them. The paper scales U by the singular values; here both are orthonormal, so that a step of R
is one of the whole weight within their span, whatever the layer.
"""

import numpy as np
import scipy.linalg
import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn

from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions
from fedpeft_secure.methods.lora import add_to, low_rank_config
from fedpeft_secure.methods.state import ADAPTER, CORE, spec_of

RANK_TOLERANCE = 1e-10
"""Squared singular values below this share of the largest are rounding: their directions differ between machines."""


class FixedFactor(nn.Module):
    """In the place of LoRA's A: projects on the right singular vectors; `weight` of shape (r, n) is never trained."""

    weight: Tensor

    def __init__(self, right: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", right)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (…, r)."""
        return nn.functional.linear(x, self.weight)


class CoreFactor(nn.Module):
    """In the place of LoRA's B: the trained core, then the left singular vectors, of shape (d, r)."""

    left: Tensor

    def __init__(self, left: Tensor) -> None:
        super().__init__()
        self.register_buffer("left", left)
        self.core = nn.Linear(left.shape[1], left.shape[1], bias=False)
        nn.init.zeros_(self.core.weight)

    @property
    def weight(self) -> Tensor:
        """U R, shape (d, r): what PEFT merges."""
        return self.left @ self.core.weight

    def forward(self, x: Tensor) -> Tensor:
        """Shape (…, d)."""
        return nn.functional.linear(self.core(x), self.left)


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Adds a core to every target and unfreezes the head; it starts as the model that it was.

    Raises:
        ModelError: If the model has none of the targets, is narrower than the rank, or a weight has a smaller one.
    """
    model, _ = add_to(base, low_rank_config(base, options), options)
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLinear):
            try:
                left, right = top_singular_vectors(layer.weight.detach().double().cpu().numpy(), options.table.rank)
            except ValueError as error:
                raise ModelError(f"peft.rank: {error} of {name}; use less") from error
            layer.lora_A[ADAPTER] = FixedFactor(torch.from_numpy(right).float())
            layer.lora_B[ADAPTER] = CoreFactor(torch.from_numpy(left).float())
    return model, spec_of(model)


def top_singular_vectors(weight: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The strongest left and right singular vectors of a weight, alike on all machines up to rounding.

    Args:
        weight: shape (d, n), float64.
        rank: how many, at most min(d, n).

    Returns:
        Orthonormal columns of shape (d, rank) and rows of shape (rank, n), the strongest first; of each left vector
        the entry that is largest in size is positive.

    Raises:
        ValueError: If the weight has a smaller rank.
    """
    first = len(weight) - rank
    squares, left = scipy.linalg.eigh(weight @ weight.T, subset_by_index=(first, len(weight) - 1))
    if squares[0] <= RANK_TOLERANCE * squares[-1]:
        raise ValueError(f"{rank} is above the rank")
    left = left[:, ::-1]
    left = left * np.sign(left[np.abs(left).argmax(axis=0), np.arange(rank)])
    right, triangle = np.linalg.qr(weight.T @ left)  # = V Σ, to rounding; orthonormal also where Σ is small
    return np.ascontiguousarray(left), np.ascontiguousarray((right * np.sign(np.diag(triangle))).T)


def as_factors(model: nn.Module, state: AdapterState) -> AdapterState:
    """`state` with U R and Vᵀ in place of each core R: plain LoRA's factors, which PEFT reads; else itself."""
    values = dict(state.values)
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLinear) and isinstance(factor := layer.lora_B[ADAPTER], CoreFactor):
            core = values.pop(f"{name}.lora_B{CORE}")
            values[f"{name}.lora_B.weight"] = factor.left.cpu().numpy() @ core
            values[f"{name}.lora_A.weight"] = layer.lora_A[ADAPTER].weight.cpu().numpy()
    return AdapterState(values)
