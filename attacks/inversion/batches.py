"""Searches the batch that explains an update: sentences of known words, added one at a time and put right together.

Every sentence is looked for beside those that are there already, and these are changed again as the batch grows: words
are exchanged for others, put in, left out and swapped, ends are cut off, and stretches change places between two
sentences. The first layer guides far from the truth, where single words count, the later ones near it.
Source: greedy selection with re-fitting is orthogonal matching pursuit's (Pati et al. 1993); the moves are ours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from attacks.base import Floats
from attacks.inversion.explaining import Batch, Explainer
from attacks.inversion.hidden import Sentence

Move = Callable[[Sentence], Iterator[Sentence]]
"""A sentence → those that differ from it in one way."""

STARTS, TRIED, SWEEPS = 4, 14, 2
"""Climbs towards another sentence, words tried at a place in them, and passes over the places."""

GROWING, POLISHING = 2, 8
"""Passes at most over all sentences after one was added, and where the batch may be complete."""

NEAR = 2.0
"""What is left over of a batch that may be complete, at most, as a multiple of the noise."""

MOST = 12
"""Sentences at most."""

MARGIN = 40.0
"""Variances of the noise by which every neighbour must explain less: a likelihood ratio of e²⁰."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchSearch:
    """Puts known words together.

    Args:
        explainer: judges batches.
        words: that the update has, without special ones.
        log_ratio: evidence for each token at each position, shape (V, P): what is tried first.
        longest: words of a text at most.
        first, last: the special tokens around a text.
    """

    explainer: Explainer = field(repr=False)
    words: tuple[int, ...] = field(repr=False)
    log_ratio: Floats = field(repr=False)
    longest: int
    first: int
    last: int

    def run(self, *, rng: np.random.Generator) -> Batch:
        """The batch that explains the update down to its noise, each word of it; none if that was not found."""
        batch: Batch = ()
        while len(batch) < MOST:
            one, gain = max(
                (self._climb(start, batch) for start in self._starts(batch, rng)), key=lambda found: found[1]
            )
            complete = gain <= 0 or one in batch
            if not complete:
                batch = self._improve((*batch, one), (_shorter, self._likelier), rounds=GROWING)
            if batch and (complete or max(self.explainer.left_over(batch).values()) < NEAR):
                batch = self._improve(batch, self._moves, rounds=POLISHING)
                if self.explainer.explains(batch):
                    return batch if self.settled(batch) else ()
            if complete:
                break
        return ()

    def settled(self, batch: Batch) -> bool:
        """Whether every sentence is needed, and explains clearly more than any that differs from it in one move."""
        for index, one in enumerate(batch):
            others = (*batch[:index], *batch[index + 1 :])
            own = self.explainer.gains(others, [(one,)])[0]
            rivals = self.explainer.gains(others, [(rival,) for rival in self._neighbours(one)])
            if own < MARGIN or own - rivals.max(initial=-np.inf) < MARGIN:
                return False
        return True

    def _starts(self, batch: Batch, rng: np.random.Generator) -> list[Sentence]:
        """For every length likely words that no sentence has at their place; those that explain most."""
        starts = []
        for length in range(1, self.longest + 1):
            for spread in (1, 6):
                words = []
                for place in range(1, length + 1):
                    used = {one[place] for one in batch if place < len(one)}
                    free = [word for word in self._likely(place) if word not in used] or self._likely(place)
                    words.append(free[int(rng.integers(min(spread, len(free))))])
                starts.append((self.first, *words, self.last))
        gains = self.explainer.gains(batch, [(start,) for start in starts])
        return [starts[index] for index in np.argsort(-gains)[:STARTS]]

    def _likely(self, place: int) -> list[int]:
        return sorted(self.words, key=lambda word: -self.log_ratio[word, place])

    def _climb(self, sentence: Sentence, others: Batch) -> tuple[Sentence, float]:
        best = float(self.explainer.gains(others, [(sentence,)])[0])
        for _ in range(SWEEPS):
            before = sentence
            for place in range(1, len(sentence) - 1):
                options = [_put(sentence, place, word) for word in self._likely(place)[:TRIED]]
                sentence, best = self._better(sentence, best, options, others)
            if sentence == before:
                break
        return sentence, best

    def _better(
        self, sentence: Sentence, best: float, options: Sequence[Sentence], others: Batch
    ) -> tuple[Sentence, float]:
        if not options:
            return sentence, best
        gains = self.explainer.gains(others, [(option,) for option in options])
        chosen = int(gains.argmax())
        return (options[chosen], float(gains[chosen])) if gains[chosen] > best else (sentence, best)

    def _improve(self, batch: Batch, moves: Sequence[Move], *, rounds: int) -> Batch:
        """Makes moves as long as the batch explains more."""
        for _ in range(rounds):
            before = batch
            batch = self._exchange(batch)
            for index in range(len(batch)):
                others = (*batch[:index], *batch[index + 1 :])
                better = self._moved(batch[index], others, moves)
                batch = (*batch[:index], better, *batch[index + 1 :])
            batch = self._needed(batch)
            if batch == before or self.explainer.explains(batch):
                break
        return batch

    def _moved(self, sentence: Sentence, others: Batch, moves: Sequence[Move]) -> Sentence:
        gain = float(self.explainer.gains(others, [(sentence,)])[0])
        for move in moves:
            sentence, gain = self._better(sentence, gain, [*move(sentence)], others)
        return sentence

    def _needed(self, batch: Batch) -> Batch:
        """Without sentences that explain less than their numbers cost."""
        kept = batch
        for one in batch:
            others = tuple(other for other in kept if other != one)
            if others and self.explainer.gains(others, [(one,)])[0] <= 0:
                kept = others
        return kept

    def _exchange(self, batch: Batch) -> Batch:
        """Lets stretches of two sentences change places."""
        current = list(batch)
        for i, j in combinations(range(len(batch)), 2):
            others = tuple(one for k, one in enumerate(current) if k not in (i, j))
            options = [*dict.fromkeys(_crossed(current[i], current[j]))]
            current[i], current[j] = options[int(self.explainer.gains(others, options).argmax())]
        return tuple(current)

    @property
    def _moves(self) -> tuple[Move, ...]:
        return _shorter, self._substituted, _swapped, self._longer

    def _neighbours(self, one: Sentence) -> list[Sentence]:
        return [*dict.fromkeys(rival for move in self._moves for rival in move(one) if rival != one)]

    def _likelier(self, one: Sentence) -> Iterator[Sentence]:
        return (_put(one, place, word) for place in range(1, len(one) - 1) for word in self._likely(place)[:TRIED])

    def _substituted(self, one: Sentence) -> Iterator[Sentence]:
        return (_put(one, place, word) for place in range(1, len(one) - 1) for word in self.words)

    def _longer(self, one: Sentence) -> Iterator[Sentence]:
        if len(one) - 2 >= self.longest:
            return iter(())
        return ((*one[:place], word, *one[place:]) for place in range(1, len(one)) for word in self.words)


def _put(one: Sentence, place: int, word: int) -> Sentence:
    return (*one[:place], word, *one[place + 1 :])


def _shorter(one: Sentence) -> Iterator[Sentence]:
    """Without one stretch of words; one word is left at least."""
    ends = range(1, len(one))
    return ((*one[:i], *one[j:]) for i, j in combinations(ends, 2) if j - i < len(one) - 2)


def _swapped(one: Sentence) -> Iterator[Sentence]:
    return (
        (*one[:i], one[j], *one[i + 1 : j], one[i], *one[j + 1 :]) for i, j in combinations(range(1, len(one) - 1), 2)
    )


def _crossed(left: Sentence, right: Sentence) -> Iterator[Batch]:
    """The two as they are, with one stretch exchanged, or with all that stands behind a place exchanged."""
    yield left, right
    ends = range(1, min(len(left), len(right)))
    for i, j in combinations(ends, 2):
        yield (*left[:i], *right[i:j], *left[j:]), (*right[:i], *left[i:j], *right[j:])
    for i in ends:
        yield (*left[:i], *right[i:]), (*right[:i], *left[i:])
