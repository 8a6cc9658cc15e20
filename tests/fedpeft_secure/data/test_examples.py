import numpy as np
import pytest

from fedpeft_secure.data import LabelledTexts, PlantedSecret, fingerprint


@pytest.fixture
def texts() -> LabelledTexts:
    return LabelledTexts(texts=("one", "two", "three"), labels=np.array([0, 1, 0]), groups=("a", "b", "a"))


def test_take_keeps_the_order_asked_for(texts: LabelledTexts) -> None:
    taken = texts.take([2, 0])
    assert (taken.texts, taken.labels.tolist(), taken.groups) == (("three", "one"), [0, 0], ("a", "a"))
    assert len(taken) == 2


def test_take_of_nothing_is_empty(texts: LabelledTexts) -> None:
    assert len(texts.take([])) == 0


def test_labels_are_a_read_only_copy() -> None:
    given = np.array([0, 1], dtype=np.int32)
    texts = LabelledTexts(texts=("one", "two"), labels=given)
    given[0] = 7
    assert texts.labels.tolist() == [0, 1]
    assert texts.labels.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        texts.labels[0] = 1


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\)"):
        LabelledTexts(texts=("one", "two"), labels=np.array([0]))
    with pytest.raises(ValueError, match="groups must have 1 entries"):
        LabelledTexts(texts=("one",), labels=np.array([0]), groups=("a", "b"))


def test_reprs_show_no_text(texts: LabelledTexts) -> None:
    secret = PlantedSecret(row=3, sentence="the code is 5831", code="5831")
    assert "three" not in repr(texts)
    assert "5831" not in repr(secret)


def test_fingerprint_ignores_the_order_only(texts: LabelledTexts) -> None:
    original = fingerprint(texts)
    assert len(original) == 32
    assert fingerprint(texts.take([2, 1, 0])) == original
    changed = [
        texts.take([0, 1]),
        texts.take([0, 1, 2, 2]),
        LabelledTexts(texts=("one", "two", "three"), labels=np.array([0, 1, 1])),
        LabelledTexts(texts=("one", "two", "three!"), labels=np.array([0, 1, 0])),
        LabelledTexts(texts=("one", "twothree"), labels=np.array([0, 1])),
    ]
    assert len({original, *map(fingerprint, changed)}) == 6


def test_fingerprint_is_stable_across_releases() -> None:
    known = "0296434c82b97b7ed5e633f07e7f422a797969a39a8ea7a133cd8d54a725eb0e"
    assert fingerprint(LabelledTexts(texts=("good film", "schlecht ☹"), labels=np.array([1, 0]))).hex() == known
