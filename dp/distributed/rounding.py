"""Conditional randomised rounding: real coordinates to integers, with a public bound on the norm of the result."""

import math

import numpy as np
from numpy.typing import NDArray

from dp.errors import InvalidParameter, NonFiniteUpdate

_MAX_TRIALS = 1000


def squared_norm_bound(scaled_norm: float, dim: int) -> int:
    """The largest squared L2 norm, an integer, that rounding may leave of a vector of norm `scaled_norm`.

    With β = exp(−1/2): min{(c + √d)², c² + d/4 + √(2 log 1/β)·(c + √d/2)}; randomised rounding exceeds the second with
    probability at most β, and the first never.

    Args: scaled_norm: c ≥ 0, the clip norm in integer steps. dim: d ≥ 1.
    Source: Kairouz, Liu and Steinke 2021 (arXiv 2102.06387), Definition 21 and Proposition 22.
    """
    if not (math.isfinite(scaled_norm) and scaled_norm >= 0) or dim < 1:
        raise InvalidParameter(f"scaled_norm={scaled_norm!r}, dim={dim!r}: a finite norm and a dimension are needed")
    root = math.sqrt(dim)
    return math.floor(min((scaled_norm + root) ** 2, scaled_norm**2 + dim / 4 + scaled_norm + root / 2))


def round_conditionally(
    vector: NDArray[np.float64], *, squared_norm: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rounds each coordinate up or down at random, without bias, again and again until the norm bound holds.

    Guarantee: the squared L2 norm of the result, computed in integers, is at most `squared_norm`, whatever came in:
        the sensitivity rests on this, and on no property of floating-point numbers.
    Does not cover: how many trials it took (2.5 expected at most), which depends on the vector and shows in the time
        taken; the small bias that conditioning leaves, which is no matter of privacy.
    Args: vector: shape (dim,), in integer steps. squared_norm: from `squared_norm_bound`. rng: need not be secret.
    Raises: NonFiniteUpdate; InvalidParameter when the bound is too small for the vector.
    Source: Kairouz, Liu and Steinke 2021 (arXiv 2102.06387), Algorithm 1.
    """
    if not np.isfinite(vector).all():
        raise NonFiniteUpdate("the update holds NaN or Inf; drop it, or lower the learning rate")
    down = np.floor(vector)
    fraction, low = vector - down, down.astype(np.int64)
    for _ in range(_MAX_TRIALS):
        rounded: NDArray[np.int64] = low + (rng.random(vector.size) < fraction)
        if int(rounded @ rounded) <= squared_norm:
            return rounded
    raise InvalidParameter(
        f"no rounding of a vector of norm {float(np.linalg.norm(vector)):.6g} has a squared norm of at most "
        f"{squared_norm}; clip it to the norm that the bound was made for"
    )
