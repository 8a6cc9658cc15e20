import numpy as np
import pytest

from fedpeft_secure.clients.held_out import hold_out
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.seeds import Seed

TEXTS = LabelledTexts(texts=tuple(f"text {number}" for number in range(20)), labels=np.arange(20) % 2)


@pytest.mark.parametrize(("fraction", "count"), [(0.0, 0), (0.01, 1), (0.25, 5), (0.89, 18)])
def test_every_text_is_on_one_side(fraction: float, count: int) -> None:
    training, held = hold_out(TEXTS, fraction, seed=Seed(0), client="client-1")
    assert len(held) == count
    assert sorted((*training.texts, *held.texts)) == sorted(TEXTS.texts)
    for part in (training, held):
        assert all(
            TEXTS.labels[TEXTS.texts.index(text)] == label for text, label in zip(part.texts, part.labels, strict=True)
        )


def test_something_is_left_to_train_on() -> None:
    training, held = hold_out(TEXTS.take([3]), 0.8, seed=Seed(0), client="client-1")
    assert (len(training), len(held)) == (1, 0)


def test_clients_and_seeds_draw_apart_and_repeatably() -> None:
    drawn = {
        (seed, client): hold_out(TEXTS, 0.3, seed=Seed(seed), client=client)[1].texts
        for seed in (0, 1)
        for client in ("client-1", "client-2")
    }
    assert len(set(drawn.values())) == 4
    assert drawn[0, "client-1"] == hold_out(TEXTS, 0.3, seed=Seed(0), client="client-1")[1].texts
