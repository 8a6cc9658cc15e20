"""How much of the texts an inversion brought back: token recall with its null control, false claims, ROUGE."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from attacks.base import Score, score
from attacks.intervals import wilson
from attacks.inversion.frames import Marks
from attacks.inversion.rouge import Rouge, rouge
from attacks.inversion.span import Pair, TextGuess

Sentence = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TextTruth:
    """The texts of the attacked batch, and texts that had no part in it.

    Args:
        sentences: token ids with special tokens, one tuple a text.
        unrelated: groups of as many texts as `sentences` that were not in the batch.
        special: what everybody knows to stand around a text.
        decode: token ids without special tokens → text.
    """

    sentences: tuple[Sentence, ...] = field(repr=False)
    unrelated: tuple[tuple[Sentence, ...], ...] = field(repr=False)
    special: Marks
    decode: Callable[[Sequence[int]], str] = field(repr=False)

    @property
    def pairs(self) -> frozenset[Pair]:
        """Distinct (position, token) of the batch, special tokens aside."""
        return content_pairs(self.sentences, self.special)

    @property
    def tokens_present(self) -> int:
        """Distinct (position, token) pairs, special tokens included: what the token budget counts."""
        return len({pair for sentence in self.sentences for pair in enumerate(sentence)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovery:
    """One guess against one truth.

    Args:
        found, present: distinct pairs that were ranked, of those that were there.
        false_claims, claims: claimed pairs that were not there, and all claimed pairs.
        rouge: of the recovered sentence against the most similar text of the batch.
        truth, recovered: these two, as text; private.
        null: share of an unrelated batch's pairs that the same guess "finds", mean over such batches.
        bag: tokens that were found without their places; None where that was not asked.
    """

    found: int
    present: int
    false_claims: int
    claims: int
    rouge: Rouge
    truth: str = field(repr=False)
    recovered: str = field(repr=False)
    null: float
    bag: "BagCount | None" = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BagCount:
    """Distinct tokens, wherever they stand, without those that everybody knows to be there.

    Args:
        found, present: those claimed of those that were there.
        false_claims: claimed ones that were not.
    """

    found: int
    present: int
    false_claims: int

    @property
    def words(self) -> str:
        """In words."""
        return f"{self.found} of {self.present} distinct tokens found wherever they stand, {self.false_claims} false"


def count_bag(guess: TextGuess, sentences: Iterable[Sentence], special: Marks) -> BagCount | None:
    """What a guess says of the tokens of some texts, if it names tokens without places."""
    if guess.bag is None:
        return None
    present = frozenset(chain.from_iterable(sentences)) - special.public
    return BagCount(found=len(present & guess.bag), present=len(present), false_claims=len(guess.bag - present))


def content_pairs(sentences: tuple[Sentence, ...], special: Marks) -> frozenset[Pair]:
    """Distinct (position, token) pairs of some texts, special tokens aside."""
    return frozenset(
        (position, token)
        for sentence in sentences
        for position, token in enumerate(sentence)
        if token not in special.tokens
    )


def compare(guess: TextGuess, truth: TextTruth) -> Recovery:
    """Counts what a guess got right."""
    pairs = truth.pairs
    recovered = truth.decode(guess.sentence)
    texts = [
        truth.decode([token for token in sentence if token not in truth.special.tokens]) for sentence in truth.sentences
    ]
    rouges = [rouge(text, recovered) for text in texts]
    best = int(np.argmax([measure.rouge1 for measure in rouges]))
    unrelated = [content_pairs(group, truth.special) for group in truth.unrelated]
    return Recovery(
        found=len(pairs & guess.ranked),
        present=len(pairs),
        false_claims=len(guess.claimed - pairs),
        claims=len(guess.claimed),
        rouge=rouges[best],
        truth=texts[best],
        recovered=recovered,
        null=float(np.mean([len(other & guess.ranked) / len(other) for other in unrelated])) if unrelated else 0.0,
        bag=count_bag(guess, truth.sentences, truth.special),
    )


def summarise(recoveries: Sequence[Recovery]) -> Score:
    """Token recall over several attacked rounds, their tokens taken together."""
    found, present = sum(r.found for r in recoveries), sum(r.present for r in recoveries)
    low, high = wilson(found, present)
    means = np.mean([(r.rouge.rouge1, r.rouge.rouge2, r.rouge.rouge_l) for r in recoveries], axis=0)
    claims, wrong = sum(r.claims for r in recoveries), sum(r.false_claims for r in recoveries)
    bags = [r.bag for r in recoveries if r.bag is not None]
    return Score(
        metric="token recall",
        value=found / present,
        low=low,
        high=high,
        null=float(np.mean([r.null for r in recoveries])),
        remarks=(
            f"ROUGE-1/2/L {means[0]:.2f}/{means[1]:.2f}/{means[2]:.2f}",
            f"{claims} tokens named as certain, {wrong} of them false",
            *([_pooled(bags).words] if bags else []),
        ),
    )


def _pooled(bags: Sequence[BagCount]) -> BagCount:
    return BagCount(
        found=sum(bag.found for bag in bags),
        present=sum(bag.present for bag in bags),
        false_claims=sum(bag.false_claims for bag in bags),
    )


@score.register
def _(guess: TextGuess, truth: TextTruth) -> Score:
    return summarise([compare(guess, truth)])
