"""ROUGE: how much of a reference text a recovered text repeats (Lin 2004, *ROUGE: A Package for Automatic Evaluation*).

F1 scores over lower-case words, without stemming; overlaps are clipped by counts.
"""

import re
from collections import Counter
from dataclasses import dataclass

WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rouge:
    """F1 of unigrams, of bigrams and of the longest common subsequence, each in [0, 1]."""

    rouge1: float
    rouge2: float
    rouge_l: float


def rouge(reference: str, recovered: str) -> Rouge:
    """Compares a recovered text with what was there.

    A text of a single word has no bigram: two such texts agree in ROUGE-2 if they are the same.
    Source: Lin 2004, sections 2 (ROUGE-N) and 3.1 (ROUGE-L), with β = 1.
    """
    truth, found = WORD.findall(reference.lower()), WORD.findall(recovered.lower())
    return Rouge(
        rouge1=_ngram_f1(truth, found, 1),
        rouge2=_ngram_f1(truth, found, 2),
        rouge_l=_f1(_longest_common(truth, found), len(truth), len(found)),
    )


def _ngram_f1(truth: list[str], found: list[str], n: int) -> float:
    left, right = _ngrams(truth, n), _ngrams(found, n)
    if not left and not right:
        return float(truth == found and bool(truth))
    return _f1((left & right).total(), left.total(), right.total())


def _ngrams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[shift:] for shift in range(n)), strict=False))


def _f1(common: int, truth: int, found: int) -> float:
    return 2.0 * common / (truth + found) if common else 0.0


def _longest_common(left: list[str], right: list[str]) -> int:
    row = [0] * (len(right) + 1)
    for word in left:
        previous = 0
        for column, other in enumerate(right, start=1):
            above = row[column]
            row[column] = previous + 1 if word == other else max(above, row[column - 1])
            previous = above
    return row[-1]
