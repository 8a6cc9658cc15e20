"""Growth against a made-up evidence whose truth is known."""

from collections.abc import Sequence

import numpy as np
import pytest

from attacks.base import Floats
from attacks.inversion.frames import Frame
from attacks.inversion.growing import TokenFit, grow
from attacks.inversion.hidden import Sentence

CUE, YES, NO = 90, 91, 92
FRAME = Frame(first=(1,), last=(), padding=0, tails=((CUE, YES), (CUE, NO)))
ONE, OTHER, THIRD = (1, 10, 11, 12), (1, 10, 20), (1, 30)
WORDS = (1, 10, 11, 12, 20, 30, CUE, YES, NO)


def exactly(*wholes: Sentence) -> TokenFit:
    """A token fits where it stands behind what stands before it in one of these."""
    there = {whole[:end] for whole in wholes for end in range(1, len(whole) + 1)}

    def fit(sentences: Sequence[Sentence]) -> list[Floats]:
        return [np.array([1.0 if one[: i + 1] in there else -1.0 for i in range(len(one))]) for one in sentences]

    return fit


def texts(fit: TokenFit, *, longest: int = 8, most: int = 30) -> set[Sentence]:
    return {one.text for one in grow(WORDS, FRAME, fit, longest=longest, most=most)}


def test_texts_that_share_their_beginning_grow_side_by_side() -> None:
    fit = exactly((*ONE, CUE, YES), (*OTHER, CUE, NO), (*THIRD, CUE, YES))
    assert texts(fit) == {ONE, OTHER, THIRD}
    found = {one.text: one.whole for one in grow(WORDS, FRAME, fit, longest=8, most=30)}
    assert (found[ONE], found[OTHER]) == ((*ONE, CUE, YES), (*OTHER, CUE, NO))


def test_a_text_ends_where_cue_and_answer_fit_and_nowhere_else() -> None:
    assert texts(exactly(ONE)) == set()
    assert texts(exactly((*ONE, CUE))) == set()
    assert texts(exactly((*ONE, CUE, YES))) == {ONE}


def test_a_beginning_that_does_not_fit_is_left_even_if_its_end_would() -> None:
    fit = exactly((*ONE, CUE, YES))
    hole = lambda rows: [np.where(np.arange(len(row)) == 1, -1.0, row) for row in fit(rows)]  # noqa: E731
    assert texts(hole) == set()


def test_what_the_tokenizer_puts_behind_a_text_belongs_to_it() -> None:
    frame = Frame(first=(1,), last=(2,), padding=0, tails=((2, CUE, YES),))
    (found,) = grow(WORDS, frame, exactly((*ONE, 2, CUE, YES)), longest=8, most=30)
    assert found == ((*ONE, 2), (*ONE, 2, CUE, YES))


@pytest.mark.parametrize(("longest", "found"), [(2, set()), (3, {ONE})])
def test_no_text_is_longer_than_it_may_be(longest: int, found: set[Sentence]) -> None:
    assert texts(exactly((*ONE, CUE, YES)), longest=longest) == found


def test_only_the_best_beginnings_are_kept() -> None:
    fit = exactly((*ONE, CUE, YES), (*THIRD, CUE, YES))
    assert len(texts(fit, most=1)) == 1


def test_no_words_make_no_texts() -> None:
    assert grow((), FRAME, exactly((*ONE, CUE, YES)), longest=8, most=30) == ()
