import numpy as np
import pytest

from fedpeft_secure.clients.held_out import hold_out
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.seeds import Seed

TEXTS = LabelledTexts(texts=tuple(f"text {number}" for number in range(200)), labels=np.arange(200) % 2)


@pytest.mark.parametrize(("fraction", "about"), [(0.0, 0), (0.25, 50), (0.89, 178)])
def test_every_text_is_on_one_side(fraction: float, about: int) -> None:
    training, held = hold_out(TEXTS, fraction, seed=Seed(0), client="client-1")
    assert len(held) == pytest.approx(about, abs=4 * np.sqrt(200 * fraction * (1 - fraction)))
    assert sorted((*training.texts, *held.texts)) == sorted(TEXTS.texts)
    for part in (training, held):
        assert all(
            TEXTS.labels[TEXTS.texts.index(text)] == label for text, label in zip(part.texts, part.labels, strict=True)
        )


def test_one_example_more_moves_nobody_elses() -> None:
    """Neighbouring data sets differ in one example that is trained on, not in hundreds that changed sides."""
    sides = hold_out(TEXTS, 0.3, seed=Seed(0), client="client-1")
    for missing in (0, 77, 199):
        others = TEXTS.take(np.delete(np.arange(200), missing))
        for whole, without in zip(sides, hold_out(others, 0.3, seed=Seed(0), client="client-1"), strict=True):
            assert without.texts == tuple(text for text in whole.texts if text != TEXTS.texts[missing])


def test_equal_texts_are_on_one_side() -> None:
    twice = TEXTS.take([*range(200), *range(200)])
    training, held = hold_out(twice, 0.5, seed=Seed(0), client="client-1")
    assert not set(training.texts) & set(held.texts)
    assert held.texts


def test_clients_and_seeds_draw_apart_and_repeatably() -> None:
    drawn = {
        (seed, client): hold_out(TEXTS, 0.3, seed=Seed(seed), client=client)[1].texts
        for seed in (0, 1)
        for client in ("client-1", "client-2")
    }
    assert len(set(drawn.values())) == 4
    assert drawn[0, "client-1"] == hold_out(TEXTS, 0.3, seed=Seed(0), client="client-1")[1].texts
