"""Fits against a made-up model: tokens in the first layer, tokens mixed with their sentence in the second."""

from collections.abc import Sequence

import numpy as np
import pytest

from attacks.base import Floats
from attacks.inversion.explaining import Explainer
from attacks.inversion.factors import Factor
from attacks.inversion.hidden import Sentence

ONE, OTHER = (1, 10, 11, 12, 2), (1, 13, 14, 2)
STDDEV, FEATURES, ROWS = 0.05, 48, 12

_rng = np.random.default_rng(0)
WORDS, PLACES, WEIGHTS = (_rng.normal(size=(count, FEATURES)) for count in (24, 12, 12))


def run(sentences: Sequence[Sentence]) -> dict[int, Floats]:
    first = [WORDS[list(one)] + PLACES[: len(one)] for one in sentences]
    second = [rows + np.tanh((rows * WEIGHTS[: len(rows)]).sum(axis=0)) for rows in first]
    return {0: np.concatenate(first), 1: np.concatenate(second)}


def explainer(*batch: Sentence, stddev: float = STDDEV, seed: int = 0) -> Explainer:
    """What an update of `batch` with noise of `stddev` leads to."""
    rng = np.random.default_rng(seed)
    factors = {}
    for layer, rows in run(batch).items():
        signal = rng.normal(size=(ROWS, len(rows))) @ rows
        noisy = signal + stddev * rng.normal(size=signal.shape)
        factors[layer] = Factor(route="A", observed=noisy, image=None, noise_stddev=stddev)
    return Explainer(factors=factors, run=run)


def test_the_right_batch_leaves_noise_alone() -> None:
    left = explainer(ONE, OTHER).left_over((ONE, OTHER))
    assert all(ratio == pytest.approx(1.0, abs=0.2) for ratio in left.values())


@pytest.mark.parametrize("wrong", [(ONE,), (ONE, (1, 13, 15, 2)), (ONE, (1, 14, 13, 2))])
def test_a_missing_sentence_a_wrong_word_and_a_wrong_order_leave_more(wrong: tuple[Sentence, ...]) -> None:
    assert min(explainer(ONE, OTHER).left_over(wrong).values()) > 2


def test_where_only_the_company_is_wrong_the_first_layer_is_content_and_the_second_not() -> None:
    left = explainer(ONE, (1, 13, 14, 15, 2)).left_over(((1, 13, 11, 12, 2), (1, 10, 14, 15, 2)))
    assert left[0] == pytest.approx(1.0, abs=0.2)
    assert left[1] > 2


def test_a_gain_is_that_of_all_sentences_less_that_of_the_others() -> None:
    own = explainer(ONE, OTHER)
    together = own.gains((), [(ONE, OTHER)])[0]
    assert own.gains((), [(ONE,)])[0] + own.gains((ONE,), [(OTHER,)])[0] == pytest.approx(together, rel=1e-4)


def test_candidates_of_several_lengths_are_tried_at_once() -> None:
    own = explainer(ONE, OTHER)
    candidates = [(OTHER,), (ONE,), ((1, 15, 2),)]
    together = own.gains((), candidates)
    assert np.allclose(together, [own.gains((), [one])[0] for one in candidates], rtol=1e-5)


def test_what_is_not_there_or_there_already_gains_nothing() -> None:
    own = explainer(ONE, OTHER)
    assert own.gains((ONE,), [(OTHER,)])[0] > 0
    assert own.gains((ONE, OTHER), [((1, 20, 21, 2),)])[0] < 0
    assert own.gains((ONE, OTHER), [(ONE,)])[0] < 0


def test_sentences_are_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = explainer(ONE)
    own.gains((), [(ONE,), (OTHER,)])
    monkeypatch.setattr("tests.attacks.inversion.test_explaining.run", None)
    assert set(own.left_over((ONE,))) == {0, 1}
