"""Exact per-example rules for layers: Opacus', where they are exact, and faster or corrected ones of our own."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn

GradientRule = Callable[[Any, list[Tensor], Tensor], dict[nn.Parameter, Tensor]]
"""(layer, its inputs (batch, …), gradient at its output (batch, …)) → one gradient for each example and parameter."""


def linear_rule(layer: nn.Linear, inputs: list[Tensor], backprops: Tensor) -> dict[nn.Parameter, Tensor]:
    """Per-example gradients of a linear layer by one batched matrix product.

    Args: inputs: [(batch, …, in)]. backprops: (batch, …, out), gradient of the sum of the losses.
    Returns: weight → (batch, out, in) and bias → (batch, out), as far as they are trainable.
    """
    gradients: dict[nn.Parameter, Tensor] = {}
    out_BLO = one_middle(backprops)
    weight, bias = layer._parameters["weight"], layer._parameters["bias"]
    if weight is not None and weight.requires_grad:
        gradients[weight] = torch.bmm(out_BLO.transpose(1, 2), one_middle(inputs[0]))
    if bias is not None and bias.requires_grad:
        gradients[bias] = out_BLO.sum(dim=1)
    return gradients


def embedding_rule(layer: nn.Embedding, inputs: list[Tensor], backprops: Tensor) -> dict[nn.Parameter, Tensor]:
    """Opacus' rule for embeddings, with the padding row left out as autograd does."""
    found: dict[nn.Parameter, Tensor] = GradSampleModule.GRAD_SAMPLERS[nn.Embedding](layer, inputs, backprops)
    if layer.padding_idx is not None:
        for rows in found.values():
            rows[:, layer.padding_idx] = 0
    return found


def whole_layer_rule(layer: nn.Module, inputs: list[Tensor], backprops: Tensor) -> dict[nn.Parameter, Tensor]:
    """Per-example gradients of anything that treats its examples alike and apart: its forward is pulled back for each.

    For layers whose parameters belong to the parts of a formula of their own, such as PEFT's. The layer runs forth once
    more, and its frozen parts are not differentiated.

    Assumes: the output for an example is a function of that example's inputs and of the parameters alone, and is one
        tensor; positional tensors are all of its inputs.
    Args: inputs: [(batch, …)]. backprops: (batch, …), gradient of the sum of the losses.
    Returns: each trainable parameter within the layer → (batch, *parameter).
    """
    trainable = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    if not backprops.shape[0]:
        return {p: torch.zeros(0, *p.shape, device=p.device) for p in trainable.values()}

    def of_one(backprop: Tensor, *one: Tensor) -> dict[str, Tensor]:
        alone = tuple(tensor.unsqueeze(0) for tensor in one)
        pull = torch.func.vjp(lambda values: torch.func.functional_call(layer, values, alone), trainable)[1]
        found: dict[str, Tensor] = pull(backprop.unsqueeze(0))[0]
        return found

    rows = torch.func.vmap(of_one)(backprops, *inputs)
    return {trainable[name]: gradient for name, gradient in rows.items()}


EXACT_RULES: Mapping[type[nn.Module], GradientRule] = {
    **GradSampleModule.GRAD_SAMPLERS,
    nn.Linear: linear_rule,
    nn.Embedding: embedding_rule,
}
"""Layer type → its rule; a subclass has none until it is named, because it may compute something else."""


def one_middle(tensor: Tensor) -> Tensor:
    """(batch, …, dim) → (batch, anything, dim); an empty batch stays one."""
    return tensor.unsqueeze(1) if tensor.dim() == 2 else tensor.flatten(1, -2)
