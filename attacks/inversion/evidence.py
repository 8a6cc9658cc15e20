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
from typing import Protocol

import numpy as np
from scipy.special import logsumexp
from scipy.stats import chi2

from attacks.base import Floats
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


class Table(Protocol):
    """Candidates in a finite table, whose images under any linear map can be computed."""

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the table."""
        ...

    def energies(self, linear_map: Floats) -> Floats:
        """‖Mᵀ e‖² of every candidate e, for M of shape (n, k)."""
        ...

    def norms(self) -> Floats:
        """‖e‖² of every candidate."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Vectors:
    """A table of explicit vectors, one a row.

    Args:
        rows: shape (N, n).
    """

    rows: Floats = field(repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, 1)."""
        return self.rows.shape[0], 1

    def energies(self, linear_map: Floats) -> Floats:
        """‖Mᵀ e‖², shape (N, 1)."""
        image = self.rows @ linear_map
        return np.einsum("nk,nk->n", image, image)[:, None]

    def norms(self) -> Floats:
        """‖e‖², shape (N, 1)."""
        return np.einsum("nk,nk->n", self.rows, self.rows)[:, None]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Span:
    """What one factor spans, told from its noise.

    Args:
        factor: as observed.
        signal: an orthonormal basis of the directions above the noise, shape (k, rank).
        scaled: the same times σ/S: how uncertain each direction is.
    """

    factor: Factor
    signal: Floats = field(repr=False)
    scaled: Floats = field(repr=False)

    @property
    def directions(self) -> int:
        """Dimensions told from noise."""
        return self.signal.shape[1]

    @property
    def outside(self) -> int:
        """Dimensions in which a wrong candidate shows; 0 also where there is no signal at all."""
        return self.signal.shape[0] - self.directions if self.directions else 0


def find_span(factor: Factor) -> Span:
    """Separates a factor's directions from its noise.

    The numerical rank follows from the noise alone: the largest singular value of a matrix of independent entries of
    variance σ² is about σ(√rows + √columns), so that a direction of rounding is not taken for one of tokens. Behind k
    directions that are surely of tokens the noise is left with k rows and columns fewer: with the whole matrix' edge
    one weak direction in a hundred small batches was lost, and its tokens then looked as if they pointed anywhere.
    A direction too many costs less, since its uncertainty is known: `EDGE` therefore lets some noise pass.
    """
    rows, columns = factor.observed.shape
    _, values, right = np.linalg.svd(factor.observed, full_matrices=False)
    sure = int((values > factor.noise_stddev * (np.sqrt(rows) + np.sqrt(columns))).sum())
    edge = EDGE * factor.noise_stddev * (np.sqrt(rows - sure) + np.sqrt(columns - sure))
    rank = int((values > max(edge, NUMERICAL_ZERO * values[0])).sum()) if values[0] > 0 else 0
    signal = right[:rank].T
    return Span(factor=factor, signal=signal, scaled=signal * (factor.noise_stddev / values[:rank]))


def weigh(
    table: Table, spans: tuple[Span, ...], *, alpha: float = 1e-4, token_precision: float = TOKEN_PRECISION
) -> Evidence:
    """Tests every candidate against all spans jointly.

    Args:
        table: the candidates.
        spans: of one layer.
        alpha: rate at which a true token may be called inconsistent with noise alone.
        token_precision: relative error of the features that the client used: of their rounding, or of its dropout.
    """
    log_ratio, distance = np.zeros(table.shape), np.zeros(table.shape)
    telling = [span for span in spans if span.outside]
    for span in telling:
        squared, variance, norms = _residuals(table, span, token_precision)
        log_ratio -= 0.5 * squared / variance
        log_ratio -= 0.5 * span.outside * np.log(variance * span.factor.observed.shape[1] / norms)
        distance += squared / variance
    freedom = sum(span.outside for span in telling)
    limit = chi2.isf(alpha, freedom) if freedom else -1.0
    return Evidence(
        log_ratio=log_ratio,
        consistent=distance < limit,
        directions=sum(span.directions for span in spans),
        freedom=freedom,
    )


def _residuals(table: Table, span: Span, token_precision: float) -> tuple[Floats, Floats, Floats]:
    """Squared distance of every candidate to the signal's span, its variance under the truth, and ‖f‖²."""
    image, columns = span.factor.image, span.factor.observed.shape[1]
    if image is None:
        norms = table.norms()
        squared = np.maximum(norms - table.energies(span.signal), 0.0)
        spread = table.energies(span.scaled)
    else:
        outside = np.linalg.qr(span.signal, mode="complete")[0][:, span.directions :]
        norms = table.energies(image)
        squared = table.energies(image @ outside)
        spread = table.energies(image @ span.scaled)
    # A vector of zeros, as of padding, lies in every span: it is no evidence.
    squared, norms = np.where(norms > 0, squared, np.inf), np.where(norms > 0, norms, 1.0)
    return squared, spread + token_precision**2 * norms / columns, norms
