"""How well each candidate (token, position) fits the span of an update that is known up to noise of a known size.

A noiseless test asks whether a candidate's distance to the row space is zero. Rounding to 16 bits, bfloat16 and DP
noise turn that distance into a random variable, so the test here is whitened. Let Y = U S Vᵀ be an observed factor
with noise σ in each entry, V₊ its directions above the noise and V₀ the others. For a true token f = V₊ c, first-order
perturbation gives V₀ᵀ f ~ N(0, σ² Σ_i (V₊ᵀf)_i² / S_i²), while a wrong one points anywhere:

    log-likelihood ratio = −½ ‖V₀ᵀf‖²/v − (k₀/2) log(k v / ‖f‖²),    v = σ² Σ_i (V₊ᵀf)_i²/S_i² + (rounding of f).

Ratios of independent factors add up. With σ = 0 this is the exact span check.
Source: row spaces and the span check, Petrov et al. 2024 (DAGER), section 4; perturbation of singular subspaces,
Wedin 1972; the whitened test is ours.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import logsumexp
from scipy.stats import chi2

from attacks.base import Floats
from attacks.inversion.dictionary import Dictionary
from attacks.inversion.factors import Factor

EDGE = 0.9
"""A singular value counts as signal above this multiple of σ(√rows + √columns), the largest that noise alone has."""

NUMERICAL_ZERO = 1e-9
"""Relative to the largest: singular values below are zero in float64 arithmetic."""

TOKEN_PRECISION = 2.0**-9 / 3**0.5
"""Relative error of a token's features after rounding to bfloat16, root mean square."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """What the factors say about every candidate.

    Args:
        log_ratio: log-likelihood ratio "in the batch" against "points anywhere", shape (V, P).
        consistent: whether the candidate's distance is within what noise explains, shape (V, P).
        directions: dimensions of the row spaces that were told from noise, summed over the factors.
        freedom: dimensions outside them, in which a wrong candidate shows; 0 means that nothing can be told.
    """

    log_ratio: Floats = field(repr=False)
    consistent: np.ndarray = field(repr=False)
    directions: int
    freedom: int

    def posterior(self, log_prior: Floats) -> Floats:
        """P(this token stands at this position) under a prior over tokens and even odds of nothing, shape (V, P)."""
        joint = self.log_ratio + log_prior[:, None]
        normaliser = np.logaddexp(logsumexp(joint, axis=0), 0.0)
        return np.asarray(np.exp(joint - normaliser))


def weigh(dictionary: Dictionary, factors: tuple[Factor, ...], *, alpha: float = 1e-4) -> Evidence:
    """Tests every candidate against all factors jointly.

    Args:
        dictionary: the candidates.
        factors: of the first layer.
        alpha: rate at which a true token may be called inconsistent with noise alone.
    """
    shape = dictionary.inverse_deviation.shape
    log_ratio, distance = np.zeros(shape), np.zeros(shape)
    directions = freedom = 0
    for factor in factors:
        signal, scaled = _signal(factor)
        outside = factor.observed.shape[1] - signal.shape[1]
        directions += signal.shape[1]
        if outside == 0 or signal.shape[1] == 0:
            continue
        squared, variance, norms = _residuals(dictionary, factor, signal, scaled)
        log_ratio -= 0.5 * squared / variance
        log_ratio -= 0.5 * outside * np.log(variance * factor.observed.shape[1] / norms)
        distance += squared / variance
        freedom += outside
    limit = chi2.isf(alpha, freedom) if freedom else -1.0
    return Evidence(log_ratio=log_ratio, consistent=distance < limit, directions=directions, freedom=freedom)


def _signal(factor: Factor) -> tuple[Floats, Floats]:
    """Directions above the noise, shape (k, rank), and the same times σ/S."""
    rows, columns = factor.observed.shape
    _, values, right = np.linalg.svd(factor.observed, full_matrices=False)
    edge = EDGE * factor.noise_stddev * (np.sqrt(rows) + np.sqrt(columns))
    rank = int((values > max(edge, NUMERICAL_ZERO * values[0])).sum()) if values[0] > 0 else 0
    signal = right[:rank].T
    return signal, signal * (factor.noise_stddev / values[:rank])


def _residuals(dictionary: Dictionary, factor: Factor, signal: Floats, scaled: Floats) -> tuple[Floats, Floats, Floats]:
    """Squared distance of every candidate to the signal's span, its variance under the truth, and ‖f‖²."""
    columns = factor.observed.shape[1]
    if factor.image is None:
        norms = dictionary.norms()
        squared = np.maximum(norms - dictionary.energies(signal), 0.0)
        spread = dictionary.energies(scaled)
    else:
        outside = np.linalg.qr(signal, mode="complete")[0][:, signal.shape[1] :]
        norms = dictionary.energies(factor.image)
        squared = dictionary.energies(factor.image @ outside)
        spread = dictionary.energies(factor.image @ scaled)
    return squared, spread + TOKEN_PRECISION**2 * norms / columns, norms
