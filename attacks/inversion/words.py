"""Which words a batch has, wherever they stand: one least-squares fit of all candidates together.

The span test asks of each candidate by itself whether it lies in the row space, and needs directions that were told
from noise one by one. Here ∂A is written as M [w_v; p_p; β], a combination of the words of a shortlist, all positions
and the shift of the embedding's LayerNorm, which is what every row of ∂A is made of: e(v, p) = (w_v + p_p)/s(v, p) + β.
These vectors are linearly independent (pairs (v, p) are not), so that a word of no batch has coefficients of noise
alone, of known covariance. Nothing has to be above the noise but the word itself.
Source: the test is that of nested linear models with known noise; its use on the factored dictionary is ours.
"""

import numpy as np
from scipy.stats import chi2

from attacks.base import Floats
from attacks.inversion.dictionary import Dictionary
from attacks.inversion.factors import Factor

SHORTLIST = 250
"""Words that are fitted at most, the likeliest by the span test."""

SPARE = 16
"""Dimensions at least that the fit leaves for the noise, by which it is judged."""

ALPHA = 1e-6
"""Rate at which a word of no batch is kept."""

UNEXPLAINED = 1.5
"""Noise of the fit, as a multiple of the known, above which words of the batch must be missing from the shortlist."""


def find_words(dictionary: Dictionary, factor: Factor, log_ratio: Floats) -> tuple[int, ...] | None:
    """The words that an observed ∂A cannot do without, or None where that cannot be told.

    Args:
        dictionary: the candidates.
        factor: of route "A".
        log_ratio: evidence of the span test, shape (V, P): makes the shortlist.
    """
    rows, features = factor.observed.shape
    room = features - dictionary.positions - 1 - SPARE
    if room < 1 or factor.noise_stddev == 0.0:
        return None
    words = np.argsort(-log_ratio.max(axis=1))[: min(SHORTLIST, room)]
    basis = np.concatenate([dictionary.words[words], dictionary.places, dictionary.shift[None]])
    covariance = np.linalg.pinv(basis @ basis.T, hermitian=True)
    coefficients = factor.observed @ basis.T @ covariance
    variance = factor.noise_stddev**2
    left = float(np.square(factor.observed - coefficients @ basis).sum()) / (rows * (features - len(basis)))
    if left > UNEXPLAINED**2 * variance:
        return None
    return _eliminate(words, coefficients, covariance * max(left, variance))


def last_place(dictionary: Dictionary, factor: Factor, words: tuple[int, ...]) -> int:
    """The last position that an observed ∂A cannot do without, given all its words: there the longest text ends.

    Each position is fitted after those before it: one by one, neighbours would stand in for one another.

    Args:
        dictionary: the candidates.
        factor: of route "A".
        words: of the batch, special ones included.
    """
    basis = np.concatenate([dictionary.words[list(words)], dictionary.shift[None], dictionary.places])
    directions = np.linalg.qr(basis.T)[0][:, -dictionary.positions :]
    statistics = np.square(factor.observed @ directions).sum(axis=0) / factor.noise_stddev**2
    return int(np.flatnonzero(statistics > chi2.isf(ALPHA, len(factor.observed))).max(initial=0))


def _eliminate(words: np.ndarray, coefficients: Floats, covariance: Floats) -> tuple[int, ...]:
    """Drops the least significant word as long as it is insignificant, and fits again."""
    limit, count = chi2.isf(ALPHA, coefficients.shape[0]), len(words)
    kept = words.tolist()
    for _ in range(count):
        statistics = np.square(coefficients[:, : len(kept)]).sum(axis=0) / np.diag(covariance)[: len(kept)]
        weakest = int(statistics.argmin())
        if statistics[weakest] > limit:
            break
        row = covariance[weakest] / covariance[weakest, weakest]
        coefficients = np.delete(coefficients - np.outer(coefficients[:, weakest], row), weakest, axis=1)
        covariance = covariance - np.outer(covariance[:, weakest], row)
        covariance = np.delete(np.delete(covariance, weakest, axis=0), weakest, axis=1)
        kept.pop(weakest)
    return tuple(kept)
