"""Intervals of shares and of statistics of two samples."""

from collections.abc import Callable

import numpy as np
from scipy.stats import binomtest

from attacks.base import Floats
from attacks.errors import AttackError


def wilson(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a share: inside [0, 1], and honest at 0 and 1.

    Raises: AttackError if not 0 ≤ successes ≤ trials, or trials is 0.
    Source: Wilson 1927, by way of `scipy.stats.binomtest`.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise AttackError(f"a share needs 0 <= successes <= trials and trials >= 1, got {successes} of {trials}")
    interval = binomtest(successes, trials).proportion_ci(confidence_level=level, method="wilson")
    share = successes / trials
    return min(float(interval.low), share), max(float(interval.high), share)


def bootstrap_two(
    statistic: Callable[[Floats, Floats], Floats],
    left: Floats,
    right: Floats,
    *,
    rng: np.random.Generator,
    resamples: int = 500,
    level: float = 0.95,
) -> tuple[Floats, Floats]:
    """Percentile bootstrap ends of statistics of two independent samples, each resampled on its own.

    Args:
        statistic: (left, right) → shape (k,).
        left, right: shapes (n,) and (m,), not empty.
        rng: of the resampling.
        resamples: how many.
        level: in (0, 1).

    Returns:
        Lower and upper ends, each of shape (k,).
    Source: Efron and Tibshirani 1993, chapter 13.
    """
    values = np.stack([statistic(rng.choice(left, left.size), rng.choice(right, right.size)) for _ in range(resamples)])
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
