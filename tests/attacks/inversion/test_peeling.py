"""Fits against made-up echoes whose weights are known."""

from dataclasses import replace

import numpy as np
import pytest

from attacks.base import Floats, View
from attacks.inversion.hidden import Sentence
from attacks.inversion.peeling import Peeler
from tests.attacks.conftest import MakeView

ONE, OTHER, WRONG = (1, 10, 2), (1, 20, 2), (1, 10, 20, 2)


def echo(view: View, sentence: Sentence) -> Floats:
    """Two labels, whose updates point apart, as those of two classes do."""
    own = np.random.default_rng(sentence).normal(size=view.observed.shape)
    if sentence == WRONG:
        own = 0.9 * echo(view, ONE)[0] + 0.3 * own
    return np.stack([own, -0.5 * own])


@pytest.fixture
def view(make_view: MakeView) -> View:
    blank = make_view([[1, 40, 2]])
    noise = 1e-3 * np.random.default_rng(0).normal(size=blank.observed.shape)
    return replace(blank, observed=0.25 * echo(blank, ONE)[0] + 0.25 * echo(blank, OTHER)[1] + noise)


def test_weights_and_labels_come_out_of_one_fit(view: View) -> None:
    peeled = Peeler(view=view, echo=echo).peel([ONE, OTHER])
    assert peeled.weights == pytest.approx((0.25, 0.25), abs=1e-3)
    assert np.std(peeled.rest.observed) == pytest.approx(1e-3, rel=0.1)


def test_what_is_left_is_the_update_of_the_others(view: View) -> None:
    rest = Peeler(view=view, echo=echo).peel([ONE]).rest
    other = echo(view, OTHER)[1]
    assert np.corrcoef(rest.observed, other)[0, 1] > 0.99


def test_a_sentence_of_no_batch_is_not_kept(view: View) -> None:
    peeler = Peeler(view=view, echo=echo)
    assert peeler.keep([WRONG, ONE, OTHER]) == (ONE, OTHER)
    assert peeler.keep([]) == ()


def test_no_sentence_is_played_twice(view: View) -> None:
    played = []

    def counted(view: View, sentence: Sentence) -> Floats:
        played.append(sentence)
        return echo(view, sentence)

    peeler = Peeler(view=view, echo=counted)
    peeler.keep([ONE, OTHER])
    peeler.peel([ONE])
    assert played == [ONE, OTHER]
