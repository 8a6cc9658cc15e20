import numpy as np
import pytest

from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.data.splits import Splits, split
from fedpeft_secure.errors import DataError
from fedpeft_secure.seeds import Seed

CLASSES = ("a", "b", "c")


def _split(examples: LabelledTexts, *, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Splits:
    return split(examples, classes=classes, validation_fraction=0.1, test_fraction=0.2, seed=Seed(seed))


def _parts(splits: Splits) -> list[LabelledTexts]:
    return [splits.training, splits.validation, splits.test]


def test_parts_have_the_asked_share_of_every_class(examples: LabelledTexts) -> None:
    for part, share in zip(_parts(_split(examples)), (70, 10, 20), strict=True):
        assert np.bincount(part.labels).tolist() == [share] * 3


def test_parts_are_disjoint_and_complete(examples: LabelledTexts) -> None:
    together = [text for part in _parts(_split(examples)) for text in part.texts]
    assert sorted(together) == sorted(examples.texts)


def test_labels_stay_with_their_texts(examples: LabelledTexts) -> None:
    label_of = dict(zip(examples.texts, examples.labels.tolist(), strict=True))
    for part in _parts(_split(examples)):
        assert [label_of[text] for text in part.texts] == part.labels.tolist()


def test_the_seed_alone_decides(examples: LabelledTexts) -> None:
    assert _split(examples).test.texts == _split(examples).test.texts
    assert set(_split(examples).test.texts) != set(_split(examples, seed=1).test.texts)


@pytest.mark.parametrize("seed", range(5))
def test_near_duplicates_never_straddle(seed: int) -> None:
    stems = [f"alpha{index} beta{index} gamma{index} delta{index} epsilon{index} zeta{index}" for index in range(100)]
    variants = tuple(text for stem in stems for text in (stem, stem.upper() + " !", f"{stem} indeed"))
    examples = LabelledTexts(texts=variants, labels=np.repeat(np.arange(100) % 2, 3))
    splits = _split(examples, seed=seed, classes=("a", "b"))
    stem_sets = [{text.lower().split()[0] for text in part.texts} for part in _parts(splits)]
    assert sum(map(len, stem_sets)) == len(set.union(*stem_sets)) == 100


def test_copies_with_different_labels_never_straddle() -> None:
    examples = LabelledTexts(texts=tuple(f"word{index // 2}" for index in range(200)), labels=np.arange(200) % 2)
    splits = _split(examples, classes=("a", "b"))
    assert not set(splits.training.texts) & (set(splits.test.texts) | set(splits.validation.texts))
    assert not set(splits.validation.texts) & set(splits.test.texts)
    assert len(splits.test) == 40


def test_a_class_too_small_for_three_parts_is_refused() -> None:
    examples = LabelledTexts(texts=("x", "y", *(f"word{index}" for index in range(30))), labels=[1, 1] + [0] * 30)
    with pytest.raises(DataError, match="class 'b' has 2 examples, too few"):
        _split(examples, classes=("a", "b"))


def test_one_text_repeated_is_refused() -> None:
    with pytest.raises(DataError, match="too few different ones"):
        _split(LabelledTexts(texts=("x",) * 60, labels=np.arange(60) % 2), classes=("a", "b"))
