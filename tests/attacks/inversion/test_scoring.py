import pytest

from attacks import score
from attacks.inversion import SpecialTokens, TextGuess, TextTruth, compare, summarise

Pair = tuple[int, int]
WORDS = {5: "good", 6: "bad", 7: "film"}


def truth(special: SpecialTokens, *sentences: tuple[int, ...]) -> TextTruth:
    return TextTruth(
        sentences=sentences,
        unrelated=(((1, 5, 6, 2),), ((1, 6, 6, 2),)),
        special=special,
        decode=lambda ids: " ".join(WORDS[token] for token in ids),
    )


def guess(*pairs: Pair, claimed: tuple[Pair, ...] = (), sentence: tuple[int, ...] = ()) -> TextGuess:
    return TextGuess(
        ranked=frozenset(pairs), claimed=frozenset(claimed), sentence=sentence, token_budget=7, directions=4
    )


def test_recall_counts_pairs_in_their_place(special: SpecialTokens) -> None:
    found = compare(guess((1, 5), (2, 5), claimed=((2, 5),), sentence=(5, 5)), truth(special, (1, 5, 7, 2)))
    assert (found.found, found.present, found.claims, found.false_claims) == (1, 2, 1, 1)
    assert found.null == pytest.approx((0.5 + 0.0) / 2)
    assert (found.truth, found.recovered) == ("good film", "good good")
    assert "good" not in repr(found)


def test_a_sum_is_compared_with_its_most_similar_text(special: SpecialTokens) -> None:
    found = compare(guess((1, 6), sentence=(6, 7)), truth(special, (1, 5, 5, 2), (1, 6, 7, 2)))
    assert (found.truth, found.rouge.rouge1) == ("bad film", 1.0)


def test_tokens_present_are_distinct_pairs_with_their_frame(special: SpecialTokens) -> None:
    assert truth(special, (1, 5, 2), (1, 5, 7, 2)).tokens_present == 5


def test_a_score_pools_the_tokens_of_all_rounds(special: SpecialTokens) -> None:
    whole = compare(guess((1, 5), (2, 7), sentence=(5, 7)), truth(special, (1, 5, 7, 2)))
    nothing = compare(guess(), truth(special, (1, 5, 7, 2)))
    found = summarise([whole, nothing])
    assert found.value == 0.5
    assert found.low < 0.5 < found.high
    assert found.null == pytest.approx(0.125)
    assert score(guess(), truth(special, (1, 5, 2))).value == 0.0
