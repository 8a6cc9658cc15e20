"""Tokens without places: made-up updates of one layer."""

from collections.abc import Sequence

import numpy as np
import pytest

from attacks import NotApplicableError
from attacks.base import Floats
from attacks.inversion.bags import find_bag, read_words
from attacks.inversion.dictionary import Dictionary
from attacks.inversion.evidence import find_span, weigh
from attacks.inversion.factors import Factor, LayerFactors
from attacks.inversion.hidden import Sentence

VOCABULARY, WIDTH, ROWS = 400, 64, 16
TABLE = np.random.default_rng(0).normal(size=(VOCABULARY, WIDTH))
TABLE[0] = 0.0  # padding
PRESENT = (5, 17, 30, 31, 200)


def placeless(sentences: Sequence[Sentence]) -> dict[int, Floats]:
    return {0: np.concatenate([TABLE[list(one)] for one in sentences])}


def placed(sentences: Sequence[Sentence]) -> dict[int, Floats]:
    return {0: np.concatenate([TABLE[list(one)] + np.arange(len(one))[:, None] for one in sentences])}


@pytest.fixture(scope="module")
def words() -> Dictionary:
    return read_words(placeless, vocabulary=VOCABULARY)


def found(words: Dictionary, present: Sequence[int], *, noise_stddev: float, route: str = "A") -> set[int]:
    rng = np.random.default_rng(1)
    inputs = TABLE[list(present)]
    image = rng.normal(size=(WIDTH, 32)) if route == "B" else None
    seen = inputs if image is None else inputs @ image
    observed = rng.normal(size=(ROWS, len(present))) @ seen
    factor = Factor(
        route=route,
        observed=observed + rng.normal(size=observed.shape) * noise_stddev,
        image=image,
        noise_stddev=noise_stddev,
    )
    layer = LayerFactors(factors=(factor,), token_budget=ROWS)
    spans = (find_span(factor),)
    return set(find_bag(words, layer, weigh(words, spans, token_precision=1e-6)))


@pytest.mark.parametrize("noise_stddev", [0.0, 1e-6, 0.01])
def test_the_tokens_of_an_update_are_found_wherever_they_stand(words: Dictionary, noise_stddev: float) -> None:
    assert found(words, PRESENT, noise_stddev=noise_stddev) == set(PRESENT)


def test_so_they_are_where_a_is_frozen(words: Dictionary) -> None:
    assert found(words, PRESENT, noise_stddev=1e-6, route="B") == set(PRESENT)


def test_noise_leaves_no_token(words: Dictionary) -> None:
    assert found(words, PRESENT, noise_stddev=1e3) == set()


@pytest.mark.parametrize(("count", "named"), [(ROWS, ROWS), (ROWS + 1, 0), (3 * ROWS, 0)])
def test_over_the_budget_nothing_is_named(words: Dictionary, count: int, named: int) -> None:
    present = range(10, 10 + count)
    assert len(found(words, present, noise_stddev=1e-6) & set(present)) == named
    assert found(words, present, noise_stddev=1e-6) <= set(present)


def test_the_empty_vector_of_padding_is_no_evidence(words: Dictionary) -> None:
    assert 0 not in found(words, (0, *PRESENT), noise_stddev=1e-6)


def test_a_first_layer_that_sees_places_is_refused() -> None:
    with pytest.raises(NotApplicableError, match="positions"):
        read_words(placed, vocabulary=VOCABULARY)
