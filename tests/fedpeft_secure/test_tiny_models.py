"""The tiny models that all tests share are the same ones every time: what fails once, fails again."""

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerFast

from tests.fedpeft_secure.conftest import byte_pairs, unigrams, word_pieces


@pytest.mark.parametrize("make", [word_pieces, byte_pairs, unigrams])
def test_a_tokenizer_is_made_the_same_again(make: Callable[[], PreTrainedTokenizerFast]) -> None:
    first, again = make(), make()
    assert isinstance(first, PreTrainedTokenizerFast)
    assert first.backend_tokenizer.to_str() == again.backend_tokenizer.to_str()
