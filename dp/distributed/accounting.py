"""What sums of integer noise shares cost: Rényi bounds from the papers, and a reduction to the Gaussian mechanism.

All take events with their public parameters; `dp.accounting` is the public side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp.errors import UnsupportedAccounting
from dp.events import DiscreteGaussianSum, SampledGaussian, SkellamSum

Floats = NDArray[np.float64]

SMOOTHING_VARIANCE = 4.0
"""s²: the part of a discrete Gaussian sum's variance that is given away to make it continuous."""

_MAX_CLOSENESS = 1e-3
_SMALLEST_PROVEN = 0.25  # σ ≥ 1/2: below, sums of discrete Gaussians have no proof, and the Rényi bound is too small


@dataclass(frozen=True, kw_only=True, slots=True)
class GaussianEquivalents:
    """Gaussian events, and how far all probabilities of the real mechanisms may lie from theirs.

    Args: closeness: η ≥ 0: each event's probability, given everything before it, is within a factor e^±η in total.
    """

    events: tuple[SampledGaussian, ...]
    closeness: float


def rdp_of_sum(event: SkellamSum | DiscreteGaussianSum, orders: Sequence[float] | Floats) -> Floats:
    """Rényi divergence of one step at each order; infinite where there is no proof."""
    return skellam_rdp(event, orders) if isinstance(event, SkellamSum) else discrete_gaussian_rdp(event, orders)


def skellam_rdp(event: SkellamSum, orders: Sequence[float] | Floats) -> Floats:
    """Rényi divergence of one step at each order; infinite at orders that are no integers, for which there is no proof.

    With variance μ of the whole sum: α·Δ₂²/2μ + min{((2α−1)·Δ₂² + 6Δ₁)/4μ², 3Δ₁/2μ}.
    Source: Agarwal, Kairouz and Liu 2021 (arXiv 2110.04995), Theorem 3.1 and Corollary 3.5.
    """
    variance, square = event.shares * event.share_variance, float(event.squared_norm)
    l1 = _l1_norm(event)
    order = np.asarray(orders, dtype=np.float64)
    excess = np.minimum(((2 * order - 1) * square + 6 * l1) / (4 * variance**2), 3 * l1 / (2 * variance))
    bound = order * square / (2 * variance) + excess
    return np.where(order == np.floor(order), bound, np.inf)


def discrete_gaussian_rdp(event: DiscreteGaussianSum, orders: Sequence[float] | Floats) -> Floats:
    """Rényi divergence of one step at each order: α·ρ of the concentrated-DP bound, ρ = ε²/2.

    With τ = 10·Σ_{k<n} exp(−2π²σ²·k/(k+1)): ε is the least of √(Δ₂²/nσ² + τd/2), Δ₂/(√n·σ) + τ√d and
    √(Δ₂²/nσ² + 2τΔ₁/(√n·σ) + τ²d). One share alone (n = 1, τ = 0) needs no smallest σ.

    Raises: UnsupportedAccounting for several shares with σ below 1/2, which the theorem leaves out.
    Source: Kairouz, Liu and Steinke 2021 (arXiv 2102.06387), Theorem 1 and Proposition 14.
    """
    shares, variance, dim = event.shares, event.share_variance, event.dim
    if shares > 1 and variance < _SMALLEST_PROVEN:
        raise UnsupportedAccounting(
            f"shares of variance {variance:.3g} are below the {_SMALLEST_PROVEN:g} from which a sum of discrete "
            "Gaussians has a proof; use a finer scale (more bits)"
        )
    square = event.squared_norm / (shares * variance)
    tau = 10 * sum(math.exp(-2 * math.pi**2 * variance * k / (k + 1)) for k in range(1, shares))
    l1 = _l1_norm(event) / math.sqrt(shares * variance)
    epsilon = min(
        math.sqrt(square + tau * dim / 2),
        math.sqrt(square + 2 * tau * l1 + tau**2 * dim),
        math.sqrt(square) + tau * math.sqrt(dim),
    )
    return np.asarray(orders, dtype=np.float64) * epsilon**2 / 2


def as_gaussian(sums: tuple[SkellamSum | DiscreteGaussianSum, ...]) -> GaussianEquivalents:
    """Gaussian mechanisms of which these sums are, but for a factor e^±η, randomised post-processing.

    Draw y ~ N(0, nσ² − s²) and an integer z with probability ∝ exp(−(z−y)²/2s²). By Poisson summation the normaliser
    Σ_z exp(−(z−y)²/2s²)/(s√2π) is within 1 ± κ(s²) for every y, κ(v) = 2·Σ_{k≥1} exp(−2π²vk²), so that z has the mass
    of N(0, nσ²) at z up to 1/(1 ± κ(s²)). The sum of n discrete Gaussians has that mass too, up to a factor 1 ± κ for
    each normaliser and each convolution. An integer shift of y shifts z. So the sum over d coordinates is
    post-processing of the Gaussian mechanism of variance nσ² − s², up to e^±η with η = d·Σ −log(1 − κ), and from
    (ε, δ) of the latter follows (ε + 2η, e^η·δ).

    Guarantee: holds under adaptive composition, the η adding up.
    Raises: UnsupportedAccounting for Skellam shares, whose tails are no Gaussian's, and where η is not negligible.
    Source: the smoothing argument of Micciancio and Regev 2007 and Peikert 2010 (Theorem 3.1), applied to privacy.
    """
    events, closeness = [], 0.0
    for event in sums:
        if isinstance(event, SkellamSum):
            raise UnsupportedAccounting(
                "Skellam sums have a proven Rényi bound only; use accountant='rdp', or discrete Gaussian shares"
            )
        variance = event.shares * event.share_variance - SMOOTHING_VARIANCE
        closeness += event.steps * event.dim * _closeness(event)
        if variance <= 0 or closeness > _MAX_CLOSENESS:
            raise UnsupportedAccounting(
                f"shares of variance {event.share_variance:.3g} are too coarse for this accountant; use "
                "accountant='rdp', or a finer scale (more bits)"
            )
        events.append(
            SampledGaussian(
                noise_multiplier=math.sqrt(variance / event.squared_norm), sample_rate=1.0, steps=event.steps
            )
        )
    return GaussianEquivalents(events=tuple(events), closeness=closeness)


def _closeness(event: DiscreteGaussianSum) -> float:
    """η of one coordinate: n normalisers and n − 1 convolutions of the sum, and the normaliser of the smoothing."""
    variances = [event.share_variance * k / (k + 1) for k in range(1, event.shares)]
    variances += [event.share_variance] * event.shares + [SMOOTHING_VARIANCE]
    return sum(-math.log1p(-_poisson_tail(variance)) for variance in variances)


def _poisson_tail(variance: float) -> float:
    """κ(v) = 2·Σ_{k≥1} exp(−2π²vk²), at most 2x/(1−x) with x = exp(−2π²v); below 1."""
    x = math.exp(-2 * math.pi**2 * variance)
    return min(2 * x / max(1 - x, 1e-9), 1 - 1e-9)


def _l1_norm(event: SkellamSum | DiscreteGaussianSum) -> float:
    return min(math.sqrt(event.dim * event.squared_norm), float(event.squared_norm))
