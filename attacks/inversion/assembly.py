"""Sentences out of tokens: which of the words that fit the first layer fit together in the later ones.

In an encoder every token's input to the second layer depends on the whole sentence, and degrades gently: a sentence
with one wrong word has outputs near the span, one with many wrong words far from it. Words are therefore exchanged one
at a time, as long as the later layers' evidence for the sentence as a whole grows. Where a batch holds several
sentences, climbs from several starts end in mixtures of them, which are crossed with one another.
Source: DAGER (Petrov et al. 2024, section 5) checks sequences in the second layer and enumerates them for encoders; the
climb by likelihood is ours, since rounding to 16 bits leaves no exact zero to test for.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from attacks.inversion.evidence import Span, Vectors, weigh
from attacks.inversion.hidden import Forward, Sentence
from fedpeft_secure.adapters import AdapterState

Fit = Callable[[Sequence[Sentence]], list[float]]
"""For every sentence: the later layers' log-likelihood ratio "in the batch" against "points anywhere"."""

SWEEPS = 4
"""Passes over a sentence at most."""

STARTS = 24
"""Climbs for one length at most."""

FRUITLESS = 5
"""Climbs in a row that bring no new fitting sentence before a length is left."""

CROSSED = 4
"""Sentences whose crossings are tried, best first."""

NEW = 0.25
"""Share of a sentence's words that no better sentence has explained at least."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pool:
    """The words that the first layer leaves.

    Args:
        likely: the tokens that the evidence is for, at each position behind the first special tokens, best first.
        possible: the same with many more.
        lengths: numbers of words that a text may have, likeliest first.
        first, last: the special tokens around a text; empty where a model has none.
    """

    likely: tuple[tuple[int, ...], ...] = field(repr=False)
    possible: tuple[tuple[int, ...], ...] = field(repr=False)
    lengths: tuple[int, ...]
    first: Sentence
    last: Sentence


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Assembled:
    """A sentence with its special tokens, and how well it fits the later layers; the better fit is the larger."""

    log_ratio: float
    sentence: Sentence = field(repr=False)

    @property
    def fits(self) -> bool:
        """Whether the evidence is for the sentence rather than against it."""
        return self.log_ratio > 0


def fit_of(spans: dict[int, tuple[Span, ...]], forward: Forward, before: AdapterState) -> Fit:
    """The evidence of some later layers about whole sentences.

    Args:
        spans: of each layer.
        forward: runs sentences.
        before: the adapter that the clients were sent.
    """
    known: dict[Sentence, float] = {}
    run = forward.reading(before, list(spans))

    def fit(sentences: Sequence[Sentence]) -> list[float]:
        unknown = list(dict.fromkeys(sentence for sentence in sentences if sentence not in known))
        if unknown:
            rows = run(unknown)
            starts = np.cumsum([0, *map(len, unknown)])[:-1]
            found = sum(weigh(Vectors(rows=rows[layer]), own).log_ratio[:, 0] for layer, own in spans.items())
            known.update(zip(unknown, np.add.reduceat(found, starts).tolist(), strict=True))
        return [known[sentence] for sentence in sentences]

    return fit


def assemble(pool: Pool, fit: Fit, *, rng: np.random.Generator) -> Iterator[tuple[Assembled, ...]]:
    """The sentences that were found for each length; some of them fit, and others are the best that there is.

    Args:
        pool: the words.
        fit: the later layers' evidence.
        rng: draws the starts.
    """
    for length in pool.lengths:
        found = _climb_often(pool, length, fit, rng)
        found |= {child.sentence: child for child in cross(sorted(found.values())[-CROSSED:], pool, fit)}
        top = max(found.values())
        if not top.fits:
            top = climb(top.sentence, pool.possible, pool, fit)
            found[top.sentence] = top
        yield tuple(sorted(found.values(), reverse=True))


def _climb_often(pool: Pool, length: int, fit: Fit, rng: np.random.Generator) -> dict[Sentence, Assembled]:
    found: dict[Sentence, Assembled] = {}
    fruitless = 0
    for index in range(STARTS):
        best = climb(_start(pool, length, list(found), first=index == 0, rng=rng), pool.likely, pool, fit)
        fruitless = 0 if best.fits and best.sentence not in found else fruitless + 1
        found[best.sentence] = best
        if fruitless == FRUITLESS:
            break
    return found


def explain(found: Sequence[Assembled]) -> tuple[Assembled, ...]:
    """The fitting sentences, best first, without those that are made of the words of better ones."""
    kept: list[Assembled] = []
    explained: set[tuple[int, int]] = set()
    for candidate in sorted(set(found), key=lambda one: one.log_ratio / len(one.sentence), reverse=True):
        pairs = set(enumerate(candidate.sentence))
        if candidate.fits and len(pairs - explained) >= NEW * len(pairs):
            kept.append(candidate)
            explained |= pairs
    return tuple(kept)


def climb(start: Sentence, columns: tuple[tuple[int, ...], ...], pool: Pool, fit: Fit) -> Assembled:
    """Exchanges one word at a time until none makes the sentence fit better."""
    sentence, best = start, fit([start])[0]
    for _ in range(SWEEPS):
        before = sentence
        for index in range(len(start) - len(pool.first) - len(pool.last)):
            place = index + len(pool.first)
            options = [(*sentence[:place], token, *sentence[place + 1 :]) for token in columns[index]]
            fits = fit(options)
            chosen = int(np.argmax(fits)) if fits else 0
            if fits and fits[chosen] > best:
                sentence, best = options[chosen], fits[chosen]
        if sentence == before:
            break
    return Assembled(sentence=sentence, log_ratio=best)


def cross(parents: Sequence[Assembled], pool: Pool, fit: Fit) -> list[Assembled]:
    """Every two-point crossing of each pair, and a climb from the best of them."""
    result = []
    for left, right in permutations(parents, 2):
        ends = range(len(pool.first), len(left.sentence) - len(pool.last) + 1)
        children = [
            (*left.sentence[:start], *right.sentence[start:stop], *left.sentence[stop:])
            for start in ends
            for stop in ends
            if start < stop
        ]
        fits = fit(children)
        chosen = int(np.argmax(fits))
        if fits[chosen] > max(left.log_ratio, right.log_ratio):
            result.append(climb(children[chosen], pool.likely, pool, fit))
    return result


def _start(pool: Pool, length: int, found: list[Sentence], *, first: bool, rng: np.random.Generator) -> Sentence:
    """The best words at first, then words that no sentence has yet, where there are any."""
    words = []
    for index in range(length):
        used = {sentence[index + len(pool.first)] for sentence in found}
        free = [token for token in pool.likely[index] if token not in used] or list(pool.likely[index])
        words.append(free[0] if first else free[int(rng.integers(len(free)))])
    return (*pool.first, *words, *pool.last)
