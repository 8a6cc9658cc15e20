import pytest

from attacks.inversion import rouge


def test_equal_texts_score_one_and_disjoint_ones_zero() -> None:
    same, none = rouge("A good film.", "a GOOD film"), rouge("a good film", "bad book")
    assert (same.rouge1, same.rouge2, same.rouge_l) == (1.0, 1.0, 1.0)
    assert (none.rouge1, none.rouge2, none.rouge_l) == (0.0, 0.0, 0.0)


def test_known_answers() -> None:
    """The example of Lin 2004, section 3.1."""
    reference = "police killed the gunman"
    assert rouge(reference, "police kill the gunman").rouge_l == pytest.approx(0.75)
    assert rouge(reference, "the gunman kill police").rouge_l == pytest.approx(0.5)
    assert rouge(reference, "the gunman kill police").rouge2 == pytest.approx(1 / 3)


def test_repetitions_count_once_for_each_in_the_reference() -> None:
    assert rouge("the cat", "the the the").rouge1 == pytest.approx(2 / 5)


def test_single_words_have_no_bigrams() -> None:
    assert rouge("touche", "touche").rouge2 == 1.0
    assert rouge("touche", "other").rouge2 == 0.0
    assert rouge("", "").rouge2 == 0.0
