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

from attacks.base import Floats
from attacks.inversion.evidence import Span, Vectors, weigh
from attacks.inversion.hidden import Forward, Run, Sentence
from fedpeft_secure.adapters import AdapterState

Fit = Callable[[Sequence[Sentence]], list[float]]
"""For every sentence a number, the larger the better."""

EXACT = 1e-6
"""Share of a token's energy off the span below which a smaller share says nothing more."""

SWEEPS = 4
"""Passes over a sentence at most."""

STARTS = 24
"""Climbs for one length at most."""

FRUITLESS = 6
"""Climbs in a row that bring no new fitting sentence before a length is left."""

CROSSED, GENERATIONS = 6, 2
"""Sentences whose crossings are tried, and how often."""

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


def fit_of(
    spans: dict[int, tuple[Span, ...]], forward: Forward, before: AdapterState, *, token_precision: float
) -> Fit:
    """The log-likelihood ratio of some later layers, "in the batch" against "points anywhere": the judge.

    Args:
        spans: of each layer.
        forward: runs sentences.
        before: the adapter that the clients were sent.
        token_precision: relative error of the features that the layers read.
    """

    def tokens(rows: dict[int, Floats]) -> Floats:
        found = [weigh(Vectors(rows=rows[i]), own, token_precision=token_precision) for i, own in spans.items()]
        return np.asarray(np.sum([evidence.log_ratio[:, 0] for evidence in found], axis=0))

    return _remembered(forward.reading(before, list(spans)), tokens)


def guide_of(spans: tuple[Span, ...], layer: int, forward: Forward, before: AdapterState) -> Fit:
    """How near one layer's tokens are to its span, on a logarithmic scale: the guide of a climb.

    The likelihood's own scale is so steep that the worst token alone decides, and climbs from mixtures of sentences
    end early; on this one every token counts. Measured on four sentences and exact spans, of 12 random starts each: 2,
    1 and 0 ended in the truth by the likelihood, 9 and 5 by this.
    """

    def tokens(rows: dict[int, Floats]) -> Floats:
        shares = [off_span(rows[layer], span) for span in spans if span.outside]
        return np.asarray(-np.log(np.sum(shares, axis=0) + EXACT))

    return _remembered(forward.reading(before, [layer]), tokens)


def off_span(rows: Floats, span: Span) -> Floats:
    """The share of each row's energy outside a span, shape (N,)."""
    image = rows if span.factor.image is None else rows @ span.factor.image
    inside = image @ span.signal
    share = 1.0 - np.einsum("nk,nk->n", inside, inside) / np.einsum("nk,nk->n", image, image)
    return np.asarray(np.maximum(share, 0.0))


def _remembered(run: Run, tokens: Callable[[dict[int, Floats]], Floats]) -> Fit:
    """The sum over a sentence's tokens; no sentence is run twice."""
    known: dict[Sentence, float] = {}

    def fit(sentences: Sequence[Sentence]) -> list[float]:
        unknown = list(dict.fromkeys(sentence for sentence in sentences if sentence not in known))
        if unknown:
            starts = np.cumsum([0, *map(len, unknown)])[:-1]
            known.update(zip(unknown, np.add.reduceat(tokens(run(unknown)), starts).tolist(), strict=True))
        return [known[sentence] for sentence in sentences]

    return fit


def assemble(pool: Pool, guide: Fit, judge: Fit, *, rng: np.random.Generator) -> Iterator[tuple[Assembled, ...]]:
    """The sentences that were found for each length; some of them fit, and others are the best that there is.

    Args:
        pool: the words.
        guide: what climbs follow.
        judge: log-likelihood ratios.
        rng: draws the starts.
    """
    for length in pool.lengths:
        found = _climb_often(pool, length, guide, judge, rng)
        for _ in range(GENERATIONS):
            ranked = sorted(found, key=lambda sentence: guide([sentence])[0])
            found |= cross(ranked[-CROSSED:], pool, guide)
        ratios = dict(zip(found, judge(list(found)), strict=True))
        fitting = [sentence for sentence in found if ratios[sentence] > 0]
        best = fitting or [max(found, key=lambda sentence: ratios[sentence])]
        polished = [climb(sentence, pool.possible, pool, guide) for sentence in best]
        # The guide and the judge may differ on the last word: what was found is kept beside its polished form.
        final = [*dict.fromkeys([*best, *polished])]
        yield tuple(Assembled(log_ratio=r, sentence=one) for r, one in zip(judge(final), final, strict=True))


def _climb_often(pool: Pool, length: int, guide: Fit, judge: Fit, rng: np.random.Generator) -> set[Sentence]:
    found: set[Sentence] = set()
    fruitless = 0
    for index in range(STARTS):
        start = _start(pool, length, sorted(found), first=index == 0, rng=rng)
        best = climb(start, pool.likely, pool, guide)
        fruitless = 0 if best not in found and judge([best])[0] > 0 else fruitless + 1
        found.add(best)
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


def climb(start: Sentence, columns: tuple[tuple[int, ...], ...], pool: Pool, guide: Fit) -> Sentence:
    """Exchanges one word at a time until none makes the sentence fit better."""
    sentence, best = start, guide([start])[0]
    for _ in range(SWEEPS):
        before = sentence
        for index in range(len(start) - len(pool.first) - len(pool.last)):
            place = index + len(pool.first)
            options = [(*sentence[:place], token, *sentence[place + 1 :]) for token in columns[index]]
            fits = guide(options)
            chosen = int(np.argmax(fits)) if fits else 0
            if fits and fits[chosen] > best:
                sentence, best = options[chosen], fits[chosen]
        if sentence == before:
            break
    return sentence


def cross(parents: Sequence[Sentence], pool: Pool, guide: Fit) -> set[Sentence]:
    """Every two-point crossing of each pair, and a climb from the best of them."""
    result = set()
    for left, right in permutations(parents, 2):
        ends = range(len(pool.first), len(left) - len(pool.last) + 1)
        children = [(*left[:i], *right[i:j], *left[j:]) for i in ends for j in ends if i < j]
        fits = guide(children)
        chosen = int(np.argmax(fits))
        if fits[chosen] > max(guide([left, right])):
            result.add(climb(children[chosen], pool.likely, pool, guide))
    return result


def _start(pool: Pool, length: int, found: list[Sentence], *, first: bool, rng: np.random.Generator) -> Sentence:
    """The best words at first, then words that no sentence has yet, where there are any."""
    words = []
    for index in range(length):
        used = {sentence[index + len(pool.first)] for sentence in found}
        free = [token for token in pool.likely[index] if token not in used] or list(pool.likely[index])
        words.append(free[0] if first else free[int(rng.integers(len(free)))])
    return (*pool.first, *words, *pool.last)
