"""Texts out of a set of tokens: how the later layers tell their order, for a decoder and for T5's encoder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

import numpy as np

from attacks.inversion.assembly import Assembled, explain, fit_of, guide_of
from attacks.inversion.evidence import Span
from attacks.inversion.factors import Factor
from attacks.inversion.frames import Frame
from attacks.inversion.growing import Grown, grow, token_fit
from attacks.inversion.hidden import Forward, Sentence
from attacks.inversion.reordering import reorder
from fedpeft_secure.adapters import AdapterState

QUERY = "q_proj"
"""End of the name of a decoder's query modules."""

ALONE, BESIDE = 24, 12
"""Words that a text may have to be looked for, where it may be the only one, and beside others: climbs take long."""

STARTS = 6
"""Climbs towards a text of one length."""

Spans = dict[int, tuple[Span, ...]]
"""Of each later layer that says anything."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidences:
    """What an order is told from.

    Args:
        words: the distinct tokens of the update.
        spans: of the later layers.
        forward: the model.
        before: the adapter that was sent out.
        token_precision: relative error of the features that the layers read.
        token_budget: tokens that a later layer can tell at most.
    """

    words: tuple[int, ...] = field(repr=False)
    spans: Spans = field(repr=False)
    forward: Forward = field(repr=False)
    before: AdapterState = field(repr=False)
    token_precision: float
    token_budget: int


class Order(Protocol):
    """Puts tokens in order."""

    @property
    def frame(self) -> Frame:
        """What stands around a text."""
        ...

    @property
    def layers(self) -> Sequence[int]:
        """Later layers whose row spaces hold every token's input."""
        ...

    def holding(self, factors: Sequence[Factor]) -> tuple[Factor, ...]:
        """Those of a layer's factors that hold every token."""
        ...

    def count(self, wholes: Sequence[Sentence]) -> int:
        """How many inputs of a later layer these are, of which the token budget is the most."""
        ...

    def texts(self, found: Evidences, *, rng: np.random.Generator) -> tuple[Grown, ...]:
        """The texts that the later layers confirm."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftToRight:
    """For decoders.

    Args:
        frame: see `Order`.
        layers: see `Order`. Not the last one: its gradients come from the places where the answer is read alone, so
            that they span fewer directions than there are tokens.
        longest: tokens of a text at most, frame aside.
    """

    frame: Frame
    layers: tuple[int, ...]
    longest: int

    def holding(self, factors: Sequence[Factor]) -> tuple[Factor, ...]:
        """See `Order`: the first token of a text has nothing to choose from, so that no gradient reaches its query."""
        return tuple(one for one in factors if not one.module.endswith(QUERY)) or tuple(factors)

    def count(self, wholes: Sequence[Sentence]) -> int:
        """See `Order`: every prefix once, with cues and answers."""
        return len(prefixes(wholes))

    def texts(self, found: Evidences, *, rng: np.random.Generator) -> tuple[Grown, ...]:
        """See `Order`: no text has more tokens than a later layer has directions."""
        del rng
        told = max(span.directions for span in found.spans[min(found.spans)])
        run = found.forward.reading(found.before, list(found.spans))
        fit = token_fit(found.spans, run, token_precision=found.token_precision)
        return grow(found.words, self.frame, fit, longest=min(self.longest, told), most=found.token_budget)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchanges:
    """For T5's encoder, which sees every text as a whole, with relative positions.

    Args:
        frame: see `Order`.
        layers: see `Order`.
        longest: tokens of a text at most, frame aside.
    """

    frame: Frame
    layers: tuple[int, ...]
    longest: int

    def holding(self, factors: Sequence[Factor]) -> tuple[Factor, ...]:
        """See `Order`: all of them."""
        return tuple(factors)

    def count(self, wholes: Sequence[Sentence]) -> int:
        """See `Order`: all tokens of all texts."""
        return sum(map(len, wholes))

    def texts(self, found: Evidences, *, rng: np.random.Generator) -> tuple[Grown, ...]:
        """See `Order`.

        As many directions of a later layer as there are tokens are told from noise: they say how long one text would
        be, and when all are found. Other lengths are tried from the shortest on.
        """
        spans, first = found.spans, min(found.spans)
        words = tuple(word for word in found.words if word not in self.frame.tokens)
        tokens = max(span.directions for span in spans[first])
        most = min(tokens - len(self.frame.first) - len(self.frame.last), self.longest)
        if not words or most < 1:
            return ()
        guide = guide_of(spans[first], first, found.forward, found.before)
        judge = fit_of(spans, found.forward, found.before, token_precision=found.token_precision)
        seen: list[Assembled] = []
        kept: tuple[Sentence, ...] = ()
        for length in ([most] if most <= ALONE else []) + list(range(1, min(most, BESIDE + 1))):
            for _ in range(STARTS):
                whole = self._framed(reorder(_start(words, kept, length, rng), words, self._framed, guide))
                seen.append(Assembled(log_ratio=judge([whole])[0], sentence=whole))
                kept = tuple(one.sentence for one in explain(seen))
                if self.count(kept) >= tokens:
                    return tuple(Grown(text=one, whole=one) for one in kept)
        return tuple(Grown(text=one, whole=one) for one in kept)

    def _framed(self, words: Sentence) -> Sentence:
        return (*self.frame.first, *words, *self.frame.last)


def _start(words: Sequence[int], kept: Sequence[Sentence], length: int, rng: np.random.Generator) -> Sentence:
    """Words in any order, those that no text has yet before others."""
    used = set(chain.from_iterable(kept))
    new = rng.permutation([word for word in words if word not in used])
    more = rng.choice(words, max(length - len(new), 0))
    return tuple(np.concatenate([new, more])[:length].astype(int).tolist())


def prefixes(sentences: Sequence[Sentence]) -> frozenset[Sentence]:
    """All beginnings of some sentences: what a decoder's later layers see."""
    return frozenset(one[:end] for one in sentences for end in range(1, len(one) + 1))
