"""The symmetric Skellam distribution: the difference of two independent Poisson counts of equal mean."""

import math
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from dp.distributed.lattice import LogConcave, draw
from dp.distributed.words import WordSource
from dp.errors import InvalidParameter

MAX_VARIANCE = 2.0**44
_STIRLING_FROM = 4096  # means from which Stirling's series is used, whose error is then below 1e-16


def skellam(count: int, *, variance: float, source: WordSource) -> NDArray[np.int64]:
    """Returns `count` independent symmetric Skellam variates, int64.

    Guarantee: exactly distributed if the source's words are uniform (see `dp.distributed.lattice`). The sum of n such
        variates is Skellam with n times the variance, exactly.
    Args: variance: μ, 0 < μ ≤ 2^44: the difference of two Poisson counts of mean μ/2.
    Raises: InvalidParameter.
    Source: Agarwal, Kairouz and Liu 2021 (arXiv 2110.04995), Definition 2.1 and section 3.
    """
    if not 0 < variance <= MAX_VARIANCE:
        raise InvalidParameter(f"variance={variance!r} must be positive and at most 2^44")
    first, second = draw(_poisson(variance / 2), 2 * count, source).reshape(2, count)
    return first - second


def _poisson(mean: float) -> LogConcave:
    mode = math.floor(mean)
    return LogConcave(
        mode=mode,
        width=math.isqrt(mode) + 1,
        log_ratio=lambda offset: _log_ratio(offset, mean, mode),
        # Both forms are a few roundings of terms of about |offset|·(1 + |log mean|), or of the log-factorials.
        error=lambda offset: 1e-11 + 1e-14 * np.abs(offset).astype(np.float64),
        exact_ratio=lambda offset: _exact_ratio(offset, mean, mode),
    )


def _log_ratio(offset: NDArray[np.int64], mean: float, mode: int) -> NDArray[np.float64]:
    """log of mean^offset · mode! / (mode + offset)!, −∞ below zero counts."""
    inside = offset >= -mode
    kept = np.where(inside, offset, 0).astype(np.float64)
    if mode < _STIRLING_FROM:
        value = kept * math.log(mean) if mean > 0 else kept
        value = value - (gammaln(mode + kept + 1) - gammaln(mode + 1.0))
    else:
        # Cancels the large terms of Stirling's series by hand: log(mode + x) − log mode = log1p(x / mode).
        end = np.maximum(mode + kept, 1.0)
        value = kept * math.log(mean / mode) - (end + 0.5) * np.log(end / mode) + kept
        small = np.abs(kept) < mode / 2
        value = np.where(
            small, kept * math.log(mean / mode) - (mode + kept + 0.5) * np.log1p(kept / mode) + kept, value
        )
        value = value - (1 / (12 * end) - 1 / (12.0 * mode)) + (1 / (360 * end**3) - 1 / (360.0 * mode**3))
    return np.where(inside, value, -np.inf)


def _exact_ratio(offset: int, mean: float, mode: int) -> Decimal:
    """The same ratio, not its logarithm, in the current decimal context."""
    rate, ratio = Decimal(mean), Decimal(1)
    if offset >= 0:
        for count in range(mode + 1, mode + offset + 1):
            ratio *= rate / count
    else:
        for count in range(mode + offset + 1, mode + 1):
            ratio *= count / rate
    return ratio
