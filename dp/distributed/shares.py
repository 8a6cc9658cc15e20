"""What a client sends and what a server reads: clip, scale, rotate, round, add a share, wrap; and back."""

import math

import numpy as np
from numpy.typing import NDArray

from dp.distributed.calibrate import SharePlan
from dp.distributed.discrete_gaussian import discrete_gaussian
from dp.distributed.hadamard import Rotation
from dp.distributed.rounding import round_conditionally
from dp.distributed.skellam import skellam
from dp.distributed.words import WordSource
from dp.errors import InvalidParameter

_MARGIN = 1e-9


def noised_contribution(
    plan: SharePlan,
    vector: NDArray[np.floating],
    *,
    clip_norm: float,
    rotation: Rotation,
    rng: np.random.Generator,
    source: WordSource,
) -> NDArray[np.int64]:
    """One client's integers for the secure sum, in −2^(bits−1)…2^(bits−1)−1.

    Guarantee: with the shares of `plan.cohort.honest` clients in the sum, this client's vector is protected as
        `plan.event` says. A vector that is not finite counts as zero, so that its failure does not show.
    Does not cover: a sum with fewer honest shares; this value on its own, which holds a single share; timing.
    Args: vector: shape (dim,). clip_norm: in the vector's unit, public. rotation: public, the cohort's. rng: rounds,
        need not be secret. source: of the noise.
    """
    share = skellam if plan.family == "skellam" else discrete_gaussian
    rounded = _rounded(plan, vector, clip_norm=clip_norm, rotation=rotation, rng=rng)
    return wrap(rounded + share(plan.dim, variance=plan.share_variance, source=source), bits=plan.bits)


def read_mean(
    plan: SharePlan, mean: NDArray[np.float64], *, clip_norm: float, rotation: Rotation
) -> NDArray[np.float64]:
    """The noised mean in the vectors' unit, from the mean of the integers: post-processing."""
    return rotation.inverse(mean) * (clip_norm / plan.scale)


def wrap(values: NDArray[np.int64], *, bits: int) -> NDArray[np.int64]:
    """Reduces modulo 2^bits to −2^(bits−1)…2^(bits−1)−1."""
    half = 1 << (bits - 1)
    return ((values + half) & ((1 << bits) - 1)) - half


def _rounded(
    plan: SharePlan, vector: NDArray[np.floating], *, clip_norm: float, rotation: Rotation, rng: np.random.Generator
) -> NDArray[np.int64]:
    if vector.shape != (plan.dim,) or rotation.dim != plan.dim:
        raise InvalidParameter(f"vector of shape {vector.shape} does not fit a plan of {plan.dim} coordinates")
    if not (math.isfinite(clip_norm) and clip_norm > 0):
        raise InvalidParameter(f"clip_norm={clip_norm!r} must be positive and finite")
    values = vector.astype(np.float64)
    norm = float(np.linalg.norm(values))
    if not math.isfinite(norm):
        return np.zeros(plan.dim, dtype=np.int64)
    values *= plan.scale * (1 - _MARGIN) / max(norm, clip_norm)
    return round_conditionally(rotation.forward(values), squared_norm=plan.squared_norm, rng=rng)
