from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from fedpeft_secure import models
from fedpeft_secure.clients.batches import Batch, Examples, physical_batches, split_batch, tokenise
from fedpeft_secure.config import ModelConfig
from fedpeft_secure.data import LabelledTexts

CPU = torch.device("cpu")


def examples_of(lengths: list[int], padding_id: int = 0) -> Examples:
    """Example i holds the token 100 + i, `lengths[i]` times, and the label i."""
    return Examples(
        token_ids=tuple([100 + index] * length for index, length in enumerate(lengths)),
        labels=np.arange(len(lengths)),
        padding_id=padding_id,
    )


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=20),
    batch_size=st.integers(1, 25),
    chosen=st.sets(st.integers(0, 19)),
)
def test_any_split_covers_each_chosen_example_once(lengths: list[int], batch_size: int, chosen: set[int]) -> None:
    indices = np.array(sorted(index for index in chosen if index < len(lengths)), dtype=np.int64)
    batches = list(physical_batches(examples_of(lengths), indices, batch_size=batch_size, device=CPU))
    labels = [label for batch in batches for label in batch.labels.tolist()]
    assert sorted(labels) == indices.tolist()
    assert all(0 < len(batch) <= batch_size for batch in batches)
    for batch in batches:
        real = batch.attention_mask.bool()
        assert real.sum(dim=1).tolist() == [lengths[label] for label in batch.labels.tolist()]
        assert batch.input_ids.shape[1] == max(lengths[label] for label in batch.labels.tolist())
        for row, mask, label in zip(batch.input_ids, real, batch.labels.tolist(), strict=True):
            assert row[mask].tolist() == [100 + label] * lengths[label]
            assert not row[~mask].any()


def test_neighbours_have_similar_lengths() -> None:
    batches = physical_batches(examples_of([9, 1, 8, 2, 7, 3]), np.arange(6), batch_size=2, device=CPU)
    assert [batch.input_ids.shape[1] for batch in batches] == [2, 7, 9]


def test_an_empty_sample_gives_no_batch() -> None:
    assert list(physical_batches(examples_of([3]), np.array([], dtype=np.int64), batch_size=4, device=CPU)) == []


def test_padding_uses_the_tokenizers_own_id() -> None:
    (batch,) = physical_batches(examples_of([1, 3], padding_id=7), np.arange(2), batch_size=2, device=CPU)
    assert batch.input_ids[0].tolist() == [100, 7, 7]
    assert batch.attention_mask[0].tolist() == [1, 0, 0]
    assert {batch.input_ids.dtype, batch.attention_mask.dtype, batch.labels.dtype} == {torch.long}


def test_padding_goes_to_the_right_of_the_text_so_positions_stay() -> None:
    (batch,) = physical_batches(examples_of([2, 4]), np.arange(2), batch_size=2, device=CPU)
    assert batch.attention_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> PreTrainedTokenizerBase:
    return models.load_tokenizer(ModelConfig(name=str(tiny_bert)))


def test_texts_become_ids_with_marks_at_both_ends(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = LabelledTexts(texts=("The soup was great.", "Great."), labels=np.array([0, 1]))
    examples = tokenise(texts, tokenizer, max_length=32)
    assert len(examples) == 2
    assert all(ids[0] == tokenizer.cls_token_id and ids[-1] == tokenizer.sep_token_id for ids in examples.token_ids)
    assert len(examples.token_ids[0]) > len(examples.token_ids[1])
    assert examples.labels.tolist() == [0, 1]
    assert examples.padding_id == tokenizer.pad_token_id


def test_long_texts_are_cut(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = LabelledTexts(texts=("soup " * 100,), labels=np.array([0]))
    examples = tokenise(texts, tokenizer, max_length=8)
    assert len(examples.token_ids[0]) == 8
    assert examples.token_ids[0][-1] == tokenizer.sep_token_id


def test_no_texts(tokenizer: PreTrainedTokenizerBase) -> None:
    examples = tokenise(LabelledTexts(texts=(), labels=np.array([], dtype=np.int64)), tokenizer, max_length=8)
    assert len(examples) == 0


def test_a_repr_shows_neither_tokens_nor_labels() -> None:
    examples = examples_of([3, 4])
    (batch,) = physical_batches(examples, np.arange(2), batch_size=2, device=CPU)
    for shown in (repr(examples), repr(batch)):
        assert "10" not in shown
        assert "tensor" not in shown
        assert "array" not in shown


def test_a_batch_splits_into_its_examples_as_they_are_padded() -> None:
    ids = torch.tensor([[5, 6, 7], [8, 9, 0]])
    batch = Batch(input_ids=ids, attention_mask=(ids > 0).long(), labels=torch.tensor([1, 0]))
    parts = split_batch(batch)
    assert [len(part) for part in parts] == [1, 1]
    for name in ("input_ids", "attention_mask", "labels"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    assert split_batch(Batch(input_ids=ids[:0], attention_mask=ids[:0], labels=ids[:0, 0])) == []
