"""The discrete Gaussian on the integers: p(x) ∝ exp(−x²/2σ²)."""

import math
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from dp.distributed.lattice import LogConcave, draw
from dp.distributed.words import WordSource
from dp.errors import InvalidParameter

MAX_VARIANCE = 2.0**80


def discrete_gaussian(count: int, *, variance: float, source: WordSource) -> NDArray[np.int64]:
    """Returns `count` independent discrete Gaussians of parameter σ² = `variance`, int64.

    Guarantee: exactly distributed, for any σ², if the source's words are uniform (see `dp.distributed.lattice`).
    Args: variance: σ², 0 < σ² ≤ 2^80; the variance of a draw is at most σ², and equal to it but for tiny σ².
    Raises: InvalidParameter.
    Source: Canonne, Kamath and Steinke 2020 (arXiv 2004.00010), Definition 1; sampled by rejection as there, from a
        geometric envelope of two-sided blocks instead of a discrete Laplace distribution.
    """
    if not 0 < variance <= MAX_VARIANCE:
        raise InvalidParameter(f"variance={variance!r} must be positive and at most 2^80")
    exact = Decimal(variance)

    def log_ratio(offset: NDArray[np.int64]) -> NDArray[np.float64]:
        return offset.astype(np.float64) ** 2 / (-2.0 * variance)

    target = LogConcave(
        mode=0,
        width=math.isqrt(math.ceil(variance)) + 1,
        log_ratio=log_ratio,
        error=lambda offset: -log_ratio(offset) * 1e-15,
        exact_ratio=lambda offset: (-(Decimal(offset) ** 2) / (2 * exact)).exp(),
    )
    return draw(target, count, source)
