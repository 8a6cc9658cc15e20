"""The fit of all words together, on updates whose words are known."""

import numpy as np

from attacks.inversion import Dictionary
from attacks.inversion.evidence import find_span, weigh
from attacks.inversion.factors import Factor
from attacks.inversion.words import find_words, last_place
from tests.attacks.conftest import VOCABULARY

POSITIONS = 6
BATCH = ((0, 1), (1, 40), (2, 41), (3, 2), (1, 60), (2, 61), (3, 62), (4, 2))
WORDS = {token for _, token in BATCH}
"""(position, token)"""


def observed(dictionary: Dictionary, *, noise: float, weak: float = 1.0, seed: int = 0) -> Factor:
    """∂A of the batch; the last two tokens' gradients are `weak`."""
    rng = np.random.default_rng(seed)
    tokens = np.stack([dictionary.vector(token, position) for position, token in BATCH])
    left = rng.normal(size=(16, len(BATCH))) * np.array([1.0] * (len(BATCH) - 2) + [weak] * 2)
    rows = left @ tokens
    return Factor(
        route="A", observed=rows + noise * rng.normal(size=rows.shape), image=None, noise_stddev=max(noise, 1e-9)
    )


def found(dictionary: Dictionary, factor: Factor) -> tuple[int, ...] | None:
    near = dictionary.first(POSITIONS)
    return find_words(near, factor, weigh(near, (find_span(factor),)).log_ratio)


def test_the_words_of_a_batch_and_no_others(dictionary: Dictionary) -> None:
    for seed in range(5):
        assert set(found(dictionary, observed(dictionary, noise=1e-3, seed=seed)) or ()) == WORDS


def test_noise_alone_has_no_words(dictionary: Dictionary) -> None:
    blank = np.random.default_rng(0).normal(size=(16, dictionary.features))
    assert found(dictionary, Factor(route="A", observed=blank, image=None, noise_stddev=1.0)) == ()


def test_a_shortlist_that_lacks_words_tells_nothing(dictionary: Dictionary) -> None:
    factor = observed(dictionary, noise=1e-3)
    wrong = np.zeros((VOCABULARY, POSITIONS))
    wrong[[40, 41, 60, 61, 62]] = -1e9
    assert find_words(dictionary.first(POSITIONS), factor, wrong) in (None, ())


def test_an_encoder_too_narrow_for_all_positions_tells_nothing(dictionary: Dictionary) -> None:
    factor = observed(dictionary, noise=1e-3)
    long = Dictionary(
        words=dictionary.words,
        places=np.zeros((dictionary.features, dictionary.features)),
        shift=dictionary.shift,
        inverse_deviation=np.ones((VOCABULARY, dictionary.features)),
    )
    assert find_words(long, factor, np.zeros((VOCABULARY, 1))) is None


def test_the_last_place_is_where_the_longest_text_ends(dictionary: Dictionary) -> None:
    words = tuple(sorted(WORDS))
    for seed in range(5):
        near = dictionary.first(POSITIONS)
        assert last_place(near, observed(dictionary, noise=1e-3, seed=seed), words) == 4
    blank = np.random.default_rng(0).normal(size=(16, dictionary.features))
    assert last_place(near, Factor(route="A", observed=blank, image=None, noise_stddev=1.0), words) == 0
