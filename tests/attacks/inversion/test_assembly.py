"""Assembly against a made-up evidence whose truth is known."""

import numpy as np
import pytest

from attacks.inversion.assembly import Assembled, Pool, assemble, climb, cross, explain
from attacks.inversion.hidden import Sentence

ONE, OTHER = (1, 10, 11, 12, 13, 14, 2), (1, 20, 21, 22, 23, 24, 2)
COLUMNS = tuple((10 + index, 20 + index, 30 + index) for index in range(5))


@pytest.fixture
def pool() -> Pool:
    return Pool(likely=COLUMNS, possible=COLUMNS, lengths=(5,), first=(1,), last=(2,))


def nearest(*truths: Sentence):  # type: ignore[no-untyped-def]
    """Evidence for exactly `truths`, growing with the words that are right *together*."""

    def fit(sentences):  # type: ignore[no-untyped-def]
        scores = [max(sum(a == b for a, b in zip(s, t, strict=True)) for t in truths) for s in sentences]
        return [100.0 if score == 7 else 10.0 * score - 80.0 for score in scores]

    return fit


def found(pool: Pool, fit) -> tuple[Assembled, ...]:  # type: ignore[no-untyped-def]
    return explain([one for batch in assemble(pool, fit, fit, rng=np.random.default_rng(0)) for one in batch])


def test_one_word_after_the_other_is_put_right(pool: Pool) -> None:
    assert climb((1, 30, 11, 32, 33, 14, 2), COLUMNS, pool, nearest(ONE)) == ONE


def test_both_sentences_of_a_batch_come_back(pool: Pool) -> None:
    assert {one.sentence for one in found(pool, nearest(ONE, OTHER))} == {ONE, OTHER}


def test_halves_are_crossed_into_wholes(pool: Pool) -> None:
    halves = [(1, 10, 11, 12, 23, 24, 2), (1, 20, 21, 22, 13, 14, 2)]
    assert ONE in cross(halves, pool, nearest(ONE))


def test_words_that_seemed_unlikely_are_tried_last(pool: Pool) -> None:
    narrow = Pool(likely=tuple((a,) for a, *_ in COLUMNS), possible=COLUMNS, lengths=(5,), first=(1,), last=(2,))
    truth = (1, 10, 21, 12, 13, 34, 2)
    assert [one.sentence for one in found(narrow, nearest(truth))] == [truth]


def test_nothing_is_found_where_no_sentence_fits(pool: Pool) -> None:
    assert found(pool, nearest((1, 90, 91, 92, 93, 94, 2))) == ()


def test_a_mixture_of_found_sentences_explains_nothing_new() -> None:
    mixture = (1, 10, 11, 22, 23, 14, 2)
    all_three = [Assembled(log_ratio=score, sentence=s) for score, s in ((90.0, ONE), (80.0, OTHER), (70.0, mixture))]
    assert [one.sentence for one in explain(all_three)] == [ONE, OTHER]
    assert explain([Assembled(log_ratio=-1.0, sentence=ONE)]) == ()
