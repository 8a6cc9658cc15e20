"""What is claimed of found texts: the order is a stub."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from attacks import AttackError, NotApplicableError
from attacks.inversion import BagInversion, Dictionary, Frame, TextGuess
from attacks.inversion.factors import Factor
from attacks.inversion.growing import Grown
from attacks.inversion.hidden import Run, Sentence
from attacks.inversion.orders import Evidences
from tests.attacks.conftest import VOCABULARY, MakeView

FRAME = Frame(first=(1,), last=(), padding=0, tails=((9,),))
TEXT = (1, 40, 7)
TOKENS = [[1], [40], [7], [9], [123]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """Says that the text is there, and counts what it is told to."""

    counted: int
    layers: tuple[int, ...] = (0,)
    frame: Frame = FRAME

    def holding(self, factors: Sequence[Factor]) -> tuple[Factor, ...]:
        return tuple(factors)

    def count(self, wholes: Sequence[Sentence]) -> int:
        assert wholes in ([], [(*TEXT, 9)])
        return self.counted

    def texts(self, found: Evidences, *, rng: np.random.Generator) -> tuple[Grown, ...]:
        assert set(found.words) == {1, 40, 7, 9, 123}
        return (Grown(text=TEXT, whole=(*TEXT, 9)),)


class Unused:
    """The model is not run."""

    def reading(self, before: object, layers: Sequence[int]) -> Run:
        raise AttackError("the stub runs nothing")


@pytest.fixture
def words(dictionary: Dictionary) -> Dictionary:
    """The tokens as the made-up views see them, all at the first place."""
    rows = np.stack([dictionary.vector(token, 0) for token in range(VOCABULARY)])
    width = rows.shape[1]
    return Dictionary(
        words=rows, places=np.zeros((1, width)), shift=np.zeros(width), inverse_deviation=np.ones((VOCABULARY, 1))
    )


def run(words: Dictionary, order: Told, view: object) -> TextGuess:
    attack = BagInversion(
        dictionary=words, order=order, relative_precision=1e-7, token_precision=1e-6, forward=Unused()
    )
    return attack.run(view, rng=np.random.default_rng(0))  # type: ignore[arg-type]


def test_a_text_is_claimed_in_its_places_and_public_tokens_never(words: Dictionary, make_view: MakeView) -> None:
    guess = run(words, Told(counted=4), make_view(TOKENS))
    assert guess.claimed == guess.ranked == {(1, 40), (2, 7)}
    assert guess.sentences == ((40, 7),)
    assert guess.bag == {40, 7, 123}
    assert guess.token_budget == 16


@pytest.mark.parametrize(("counted", "claims"), [(16, 2), (17, 0)])
def test_texts_over_the_budget_are_not_claimed(
    words: Dictionary, make_view: MakeView, counted: int, claims: int
) -> None:
    guess = run(words, Told(counted=counted), make_view(TOKENS))
    assert (len(guess.claimed), len(guess.sentences)) == (claims, claims // 2)


def test_without_later_layers_tokens_have_no_places(words: Dictionary, make_view: MakeView) -> None:
    for layers in ((), (1,)):
        guess = run(words, Told(counted=0, layers=layers), make_view(TOKENS))
        assert (guess.claimed, guess.sentences, guess.bag) == (frozenset(), (), {40, 7, 123})


def test_a_coarse_update_gives_no_order(words: Dictionary, make_view: MakeView) -> None:
    guess = run(words, Told(counted=4), make_view(TOKENS, rounding_stddev=0.3))
    assert (guess.claimed, guess.sentences, guess.bag) == (frozenset(), (), {40, 7, 123})


def test_modules_of_later_layers_are_not_enough(words: Dictionary, make_view: MakeView) -> None:
    view = make_view(TOKENS)
    entries = tuple(replace(e, module=e.module.replace("layer.0", "layer.3")) for e in view.trained.entries)
    with pytest.raises(NotApplicableError, match=r"peft\.targets"):
        run(words, Told(counted=4), replace(view, trained=replace(view.trained, entries=entries)))
