"""Texts of a decoder, grown from left to right: each token's input to a later layer depends on those before it alone.

Every prefix that is kept is continued by every token that the first layer found; a continuation is kept if the inputs
that its last token gives to the later layers lie in their spans. A text is complete where the public cue and the words
of a class fit behind it. Nothing has to be guessed at once, so that batches grow side by side, as many prefixes as
there are.
Source: DAGER (Petrov et al. 2024, section 5), for full gradients; cues, answers and the test by likelihood are ours.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from attacks.base import Floats
from attacks.inversion.evidence import Span, Vectors, weigh
from attacks.inversion.frames import Frame
from attacks.inversion.hidden import Run, Sentence

TokenFit = Callable[[Sequence[Sentence]], list[Floats]]
"""For every sentence the log-likelihood ratio of each of its tokens, "in the batch" against "points anywhere"."""


class Grown(NamedTuple):
    """A complete text.

    `text` has the tokenizer's frame around it; `whole` the cue and the words of its class behind that.
    """

    text: Sentence
    whole: Sentence


def token_fit(spans: dict[int, tuple[Span, ...]], run: Run, *, token_precision: float) -> TokenFit:
    """How well tokens fit some layers, summed over these.

    Args:
        spans: of each layer.
        run: sentences → the inputs of these layers.
        token_precision: relative error of the features that the layers read.
    """

    def fit(sentences: Sequence[Sentence]) -> list[Floats]:
        rows = run(sentences)
        found = [weigh(Vectors(rows=rows[i]), own, token_precision=token_precision) for i, own in spans.items()]
        ratios = np.sum([evidence.log_ratio[:, 0] for evidence in found], axis=0)
        return np.split(ratios, np.cumsum([len(one) for one in sentences])[:-1])

    return fit


def grow(words: Sequence[int], frame: Frame, fit: TokenFit, *, longest: int, most: int) -> tuple[Grown, ...]:
    """The complete texts, shortest first.

    Args:
        words: that the update has.
        frame: what stands around a text.
        fit: of the later layers.
        longest: tokens of a text at most, without its frame.
        most: prefixes of one length at most, the best ones.
    """
    found: list[Grown] = []
    kept = [frame.first]
    for _ in range(longest):
        options = [(*prefix, word) for prefix in kept for word in words]
        if not options:
            break
        ratios = np.array([tokens[-1] for tokens in fit(options)])
        kept = [options[index] for index in np.argsort(-ratios)[:most] if ratios[index] > 0]
        found += _completed(kept, frame, fit)
    return tuple(found)


def _completed(prefixes: Sequence[Sentence], frame: Frame, fit: TokenFit) -> list[Grown]:
    """The prefixes behind which all of one of the tails fits, with the one that fits best."""
    wholes = [[(*prefix, *tail) for tail in frame.tails] for prefix in prefixes]
    fits = iter(fit([one for each in wholes for one in each]) if prefixes else [])
    found = []
    for prefix, each in zip(prefixes, wholes, strict=True):
        weakest = [float(next(fits)[len(prefix) :].min(initial=np.inf)) for _ in each]
        best = int(np.argmax(weakest))
        if weakest[best] > 0:
            found.append(Grown(text=(*prefix, *frame.last), whole=each[best]))
    return found
