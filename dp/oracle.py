"""The oracle: gradients one example at a time in fp32, against which every faster method is tested."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dp.errors import BatchCoupled, InvalidParameter

Batch = TypeVar("Batch")


def split_examples(batch: Any) -> list[Any]:
    """Splits a tensor, or a mapping or tuple of tensors, into batches of one along the first dimension.

    Raises: InvalidParameter for anything else; then pass a `split` of your own.
    """
    if isinstance(batch, Tensor):
        return [batch[i : i + 1] for i in range(batch.shape[0])]
    if isinstance(batch, Mapping) and batch:
        columns = {key: split_examples(value) for key, value in batch.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if isinstance(batch, tuple) and batch:
        return list(zip(*(split_examples(value) for value in batch), strict=True))
    raise InvalidParameter(f"cannot split a {type(batch).__name__} into examples; pass split=")


def per_example_gradients(
    model: nn.Module,
    batch: Batch,
    loss: Callable[[Any, Batch], Tensor],
    *,
    split: Callable[[Batch], list[Batch]] = split_examples,
) -> dict[str, Tensor]:
    """Computes each example's gradient by a backward pass of its own, without autocast: slow and right.

    Args: model: with trainable parameters; dropout must be off to be comparable. loss: (model, batch) → (batch,).
    Returns: parameter name → (batch, *parameter), float32.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows: dict[str, list[Tensor]] = {name: [] for name in trainable}
    device = next(iter(trainable.values())).device.type
    for example in split(batch):
        with torch.autocast(device, enabled=False), torch.enable_grad():
            losses = loss(model, example).sum()
            gradients = torch.autograd.grad(losses, list(trainable.values()), allow_unused=True)
        for (name, parameter), gradient in zip(trainable.items(), gradients, strict=True):
            rows[name].append(torch.zeros_like(parameter) if gradient is None else gradient.float())
    return {name: torch.stack(found) for name, found in rows.items()}


def largest_deviation(found: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> float:
    """How far per-example gradients are from the oracle's, for the worst example and parameter.

    Args: found, truth: parameter name → (batch, *parameter).
    Returns: the distance relative to the norm of the example's whole gradient in `truth`; ∞ where names, shapes or
        finiteness differ.
    """
    if found.keys() != truth.keys() or any(found[name].shape != truth[name].shape for name in truth):
        return float("inf")
    squares = [rows.flatten(1).double().square().sum(dim=1) for rows in truth.values()]
    norms_B = torch.stack(squares).sum(dim=0).sqrt().clamp(min=1e-30)
    gaps = [(found[name] - rows).flatten(1).double().norm(dim=1) / norms_B for name, rows in truth.items()]
    return float(torch.nan_to_num(torch.stack(gaps), nan=float("inf")).max())


def refuse_coupled_loss(
    model: nn.Module,
    batch: Batch,
    loss: Callable[[Any, Batch], Tensor],
    *,
    tolerance: float = 1e-2,
    split: Callable[[Batch], list[Batch]] = split_examples,
) -> None:
    """Checks on one *public* batch that every example's loss is the same alone as beside the others.

    Args: batch: at least two different examples. tolerance: relative to the largest loss; leaves room for bf16.
    Raises: BatchCoupled.
    """
    examples = split(batch)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            together = loss(model, batch).float().reshape(-1)
            alone = torch.cat([loss(model, example).float().reshape(-1) for example in examples])
    finally:
        model.train(was_training)
    if together.shape != alone.shape or (together - alone).abs().max() > tolerance * alone.abs().max():
        raise BatchCoupled(
            "an example's loss changes with the other examples of its batch, so that clipping does not bound its "
            "influence; return the mean over each example's own tokens"
        )
