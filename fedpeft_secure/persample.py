"""Per-example gradients of an adapted model: by hooks where a trial on public words finds them exact, else singly."""

from typing import Any

import torch
from torch import nn

import dp.persample
import dp.strategies
import dp.trial
from fedpeft_secure import methods
from fedpeft_secure.clients.batches import Batch, split_batch

TRIAL_LENGTH = 64
"""Longest text of the trial."""

LARGEST_ROWS_BYTES = 2**30
"""Above this, one example at a time is the better bargain."""

FP32_BYTES = 4

SPECIAL = 5
"""Ids below are special tokens in the vocabularies of BERT, RoBERTa and T5."""


def per_example(
    model: nn.Module, losses: dp.strategies.PerExampleLoss[Batch], *, max_length: int, physical_batch: int
) -> dp.persample.PerExampleModule:
    """Chooses how the gradients of `model` are clipped one by one.

    Args:
        model: adapted, all of its adapter trainable, in evaluation mode.
        losses: (model, batch) → (batch,), computed in fp32.
        max_length: tokens of the longest text.
        physical_batch: examples of a training batch.

    Returns:
        The module for `dp.sgd`, with the strategy and the reason for it.

    Raises:
        dp.errors.BatchCoupled: If the model or the loss mixes examples.
    """
    wrapped = dp.persample.wrap(model, rules=methods.rules_for(model), split=split_batch)
    rows = embedding_row_bytes(model, physical_batch)
    if rows > LARGEST_ROWS_BYTES:
        wrapped = wrapped.in_microbatches(f"rows for its embeddings would take {rows / 2**30:.1f} GiB")
    batch = public_batch(model, length=min(max_length, TRIAL_LENGTH))
    return dp.trial.tried(wrapped, batch, losses, physical_batch=physical_batch)


def embedding_row_bytes(model: nn.Module, physical_batch: int) -> int:
    """What one row of gradients for each example takes for the tables that train: full fine-tuning, in practice."""
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    values = sum(table.numel() for table in {id(table): table for table in tables}.values() if table.requires_grad)
    return FP32_BYTES * values * physical_batch


def public_batch(model: nn.Module, *, length: int) -> Batch:
    """Three texts of random words, of different lengths: nobody's data."""
    generator = torch.Generator().manual_seed(0)
    config: Any = model.config
    last = config.eos_token_id
    lengths = torch.tensor([length, max(length // 2, 3), 3])
    mask = (torch.arange(length) < lengths[:, None]).long()
    ids = torch.randint(SPECIAL, config.vocab_size, (3, length), generator=generator)
    if last is not None:
        ids[torch.arange(3), lengths - 1] = last
    ids = torch.where(mask.bool(), ids, config.pad_token_id or 0)
    device = next(model.parameters()).device
    return Batch(
        input_ids=ids.to(device), attention_mask=mask.to(device), labels=torch.tensor([0, 1, 0], device=device)
    )
