"""Tokenised examples and physical batches: sorted by length, padded only as far as their longest text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from fedpeft_secure.data import LabelledTexts


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Examples:
    """Tokenised texts with labels; private where they are a client's.

    token_ids holds one list of ids a text, special tokens included; labels has shape (n,). groups, of shape (n,), says
    which of the client's groups of budgets each is in; None where all share one.
    """

    token_ids: tuple[list[int], ...] = field(repr=False)
    labels: np.ndarray = field(repr=False)
    padding_id: int
    groups: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """One physical batch: input_ids and attention_mask of shape (batch, length), labels of shape (batch,).

    `hidden`, of shape (batch, length, width), is what frozen lower layers make of the texts, where that is kept; zero
    at padding, which no real token sees.
    """

    input_ids: Tensor = field(repr=False)
    attention_mask: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    hidden: Tensor | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.labels.shape[0]


def tokenise(texts: LabelledTexts, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> Examples:
    """Tokenises all texts, cut at `max_length` tokens."""
    encoded = tokenizer(list(texts.texts), truncation=True, max_length=max_length)["input_ids"] if len(texts) else []
    return Examples(token_ids=tuple(encoded), labels=texts.labels, padding_id=tokenizer.pad_token_id or 0)


def physical_batches(
    examples: Examples,
    indices: np.ndarray,
    *,
    batch_size: int,
    device: torch.device,
    hidden: Sequence[Tensor] | None = None,
) -> Iterator[Batch]:
    """Cuts the chosen examples into batches of similar length.

    How a logical batch is cut cannot change its sum of clipped gradients, only its speed: padding a text to its
    neighbours' length instead of the maximum saves most of the work on short texts.

    Args:
        examples: all examples of one party.
        indices: which of them, shape (k,); k may be 0.
        batch_size: examples in a physical batch at most.
        device: where the tensors go.
        hidden: of all examples, each of shape (length, width).
    """
    by_length = sorted(indices.tolist(), key=lambda index: len(examples.token_ids[index]))
    for start in range(0, len(by_length), batch_size):
        chosen = by_length[start : start + batch_size]
        batch = _pad(examples, chosen, device)
        yield (
            batch
            if hidden is None
            else replace(batch, hidden=pad_sequence([hidden[i] for i in chosen], batch_first=True))
        )


def split_batch(batch: Batch) -> list[Batch]:
    """The examples of a batch as batches of one, padded as they were."""
    if not len(batch):
        return []
    rows = zip(batch.input_ids.split(1), batch.attention_mask.split(1), batch.labels.split(1), strict=True)
    singles = [Batch(input_ids=ids, attention_mask=mask, labels=label) for ids, mask, label in rows]
    if batch.hidden is None:
        return singles
    return [replace(one, hidden=hidden) for one, hidden in zip(singles, batch.hidden.split(1), strict=True)]


def _pad(examples: Examples, chosen: list[int], device: torch.device) -> Batch:
    rows = [examples.token_ids[index] for index in chosen]
    length = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), length), examples.padding_id, dtype=torch.long)
    attention_mask = torch.zeros((len(rows), length), dtype=torch.long)
    for position, row in enumerate(rows):
        input_ids[position, : len(row)] = torch.tensor(row)
        attention_mask[position, : len(row)] = 1
    labels = torch.from_numpy(examples.labels[chosen])
    return Batch(input_ids=input_ids.to(device), attention_mask=attention_mask.to(device), labels=labels.to(device))
