"""Means over seeds with their intervals."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.stats import t as student

LEVEL = 0.95


class Spread(BaseModel):
    """A mean over seeds with its 95 % interval by Student's t; with one seed there is no interval.

    The interval covers what changes with the seed: partition, sampling, noise, first values. It does not cover the
    choice of the test examples, which all seeds share.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        """Half the interval."""
        return None if self.high is None else self.high - self.mean


def spread(values: Sequence[float]) -> Spread:
    """The mean of one value for each seed.

    Args: values: at least one, finite.
    Raises: ValueError if there are none, or one is not finite.
    Source: Student 1908.
    """
    found = np.asarray(values, dtype=np.float64)
    if not found.size or not np.isfinite(found).all():
        raise ValueError(f"a mean over seeds needs finite values, at least one; got {list(values)}")
    mean, n = float(found.mean()), int(found.size)
    if n == 1:
        return Spread(mean=mean, low=None, high=None, n=1)
    half = float(student.ppf((1 + LEVEL) / 2, n - 1) * found.std(ddof=1) / n**0.5)
    return Spread(mean=mean, low=mean - half, high=mean + half, n=n)
