"""Texts of known words in an encoder with relative positions, where nothing says which word stands first.

All words of a text matter to each of its tokens in the second layer, and their order matters less: the guide is highest
for the right words in the right order, next for the right words, and low for others. A climb therefore puts words for
others, moves a word to another place and lets two change places, whichever brings the text nearest to the span.
Source: the second-layer check of DAGER (Petrov et al. 2024, section 5); the climb is ours.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np

from attacks.inversion.assembly import Fit
from attacks.inversion.hidden import Sentence

STEPS = 60
"""Moves of one climb at most."""

Framed = Callable[[Sentence], Sentence]
"""Words → the text with its frame."""


def reorder(start: Sentence, words: Sequence[int], framed: Framed, guide: Fit) -> Sentence:
    """Makes the best move as long as one brings the text nearer to the span.

    Args:
        start: words in any order.
        words: all that the update has.
        framed: puts the frame around words.
        guide: higher where the text fits.
    """
    text, best = start, guide([framed(start)])[0]
    for _ in range(STEPS):
        options = [*dict.fromkeys((*_swapped(text), *_moved(text), *_exchanged(text, words)))]
        fits = guide([framed(option) for option in options]) if options else []
        chosen = int(np.argmax(fits)) if fits else 0
        if not fits or fits[chosen] <= best:
            break
        text, best = options[chosen], fits[chosen]
    return text


def _swapped(text: Sentence) -> Iterator[Sentence]:
    for i, j in combinations(range(len(text)), 2):
        yield (*text[:i], text[j], *text[i + 1 : j], text[i], *text[j + 1 :])


def _moved(text: Sentence) -> Iterator[Sentence]:
    for i, word in enumerate(text):
        rest = (*text[:i], *text[i + 1 :])
        for j in range(len(text)):
            yield (*rest[:j], word, *rest[j:])


def _exchanged(text: Sentence, words: Sequence[int]) -> Iterator[Sentence]:
    for i in range(len(text)):
        for word in words:
            yield (*text[:i], word, *text[i + 1 :])
