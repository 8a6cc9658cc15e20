"""A climb against a made-up evidence that grows with the neighbours that are right."""

from collections.abc import Sequence

import numpy as np
import pytest

from attacks.inversion.hidden import Sentence
from attacks.inversion.reordering import reorder

TRUTH = (10, 11, 12, 13, 14, 12)


def nearest(sentences: Sequence[Sentence]) -> list[float]:
    """How many words are in place, and how many are there at all."""
    return [
        float(sum(a == b for a, b in zip(one[:-1], TRUTH, strict=True))) + 2.0 * len(set(one) & set(TRUTH))
        for one in sentences
    ]


def framed(words: Sentence) -> Sentence:
    return (*words, 1)


@pytest.mark.parametrize("seed", range(4))
def test_words_are_put_in_order(seed: int) -> None:
    start = tuple(np.random.default_rng(seed).permutation(TRUTH).tolist())
    assert reorder(start, sorted(set(TRUTH)), framed, nearest) == TRUTH


def test_words_that_are_not_there_are_put_for_others() -> None:
    assert reorder((14, 13, 90, 91, 12, 11), (10, 11, 12, 13, 14, 90, 91), framed, nearest) == TRUTH


def test_a_single_word_stays_as_it_is() -> None:
    assert reorder((5,), (5,), framed, lambda texts: [0.0 for _ in texts]) == (5,)
