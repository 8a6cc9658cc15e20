"""How much of the texts an inversion brought back: token recall with its null control, false claims, ROUGE."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from attacks.base import Score, score
from attacks.intervals import wilson
from attacks.inversion.rouge import Rouge, rouge
from attacks.inversion.span import Pair, SpecialTokens, TextGuess

Sentence = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TextTruth:
    """The texts of the attacked batch, and texts that had no part in it.

    Args:
        sentences: token ids with special tokens, one tuple a text.
        unrelated: groups of as many texts as `sentences` that were not in the batch.
        special: the tokenizer's frame.
        decode: token ids without special tokens → text.
    """

    sentences: tuple[Sentence, ...] = field(repr=False)
    unrelated: tuple[tuple[Sentence, ...], ...] = field(repr=False)
    special: SpecialTokens
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
    """

    found: int
    present: int
    false_claims: int
    claims: int
    rouge: Rouge
    truth: str = field(repr=False)
    recovered: str = field(repr=False)
    null: float


def content_pairs(sentences: tuple[Sentence, ...], special: SpecialTokens) -> frozenset[Pair]:
    """Distinct (position, token) pairs of some texts, special tokens aside."""
    frame = {special.first, special.last, special.padding}
    return frozenset(
        (position, token) for sentence in sentences for position, token in enumerate(sentence) if token not in frame
    )


def compare(guess: TextGuess, truth: TextTruth) -> Recovery:
    """Counts what a guess got right."""
    pairs = truth.pairs
    recovered = truth.decode(guess.sentence)
    frame = {truth.special.first, truth.special.last, truth.special.padding}
    texts = [truth.decode([token for token in sentence if token not in frame]) for sentence in truth.sentences]
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
    )


def summarise(recoveries: Sequence[Recovery]) -> Score:
    """Token recall over several attacked rounds, their tokens taken together."""
    found, present = sum(r.found for r in recoveries), sum(r.present for r in recoveries)
    low, high = wilson(found, present)
    means = np.mean([(r.rouge.rouge1, r.rouge.rouge2, r.rouge.rouge_l) for r in recoveries], axis=0)
    claims, wrong = sum(r.claims for r in recoveries), sum(r.false_claims for r in recoveries)
    return Score(
        metric="token recall",
        value=found / present,
        low=low,
        high=high,
        null=float(np.mean([r.null for r in recoveries])),
        remarks=(
            f"ROUGE-1/2/L {means[0]:.2f}/{means[1]:.2f}/{means[2]:.2f}",
            f"{claims} tokens claimed, {wrong} of them false",
        ),
    )


@score.register
def _(guess: TextGuess, truth: TextTruth) -> Score:
    return summarise([compare(guess, truth)])
