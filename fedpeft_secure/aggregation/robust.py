"""Robust means of what groups of clients sent: a few lying groups move no value beyond what honest ones say."""

import math
from typing import Literal

import numpy as np

RobustRule = Literal["off", "median", "trimmed_mean"]

FEWEST_GROUPS = 3
"""The median of two is their mean."""


def robust_mean(means: np.ndarray, *, rule: RobustRule, trimmed_share: float) -> np.ndarray:
    """The median or trimmed mean of every coordinate, shape (dim,); "off" is the plain mean.

    Every group counts the same, however many survivors it has: what it weighs is its own word.

    Guarantee: a value lies between the smallest and the largest that honest groups have for it, as long as liars are in
        fewer than half of the groups ("median"), or in no more than are left out at either end ("trimmed_mean").
    Does not cover: lies within that range; what honest clients with rare data want and the others do not.
    Source: Yin, Chen, Ramchandran and Bartlett 2018, *Byzantine-Robust Distributed Learning: Towards Optimal
    Statistical Rates*, Definitions 1 and 2, there of single updates.

    Args:
        means: of the groups, shape (groups, dim).
        rule: which mean.
        trimmed_share: of the groups, left out at either end by "trimmed_mean"; in (0, 1/2).
    """
    if rule == "off":
        return np.asarray(means.mean(axis=0))
    if rule == "median":
        return np.asarray(np.median(means, axis=0))
    cut = trimmed_groups(len(means), trimmed_share)
    return np.asarray(np.sort(means, axis=0)[cut : len(means) - cut].mean(axis=0))


def trimmed_groups(groups: int, trimmed_share: float) -> int:
    """How many groups a trimmed mean leaves out at either end: one at least, and never all."""
    return max(1, math.floor(trimmed_share * groups))


def fewest_groups(groups: int) -> int:
    """How many of a round's groups must have a sum: most of them, and enough for a mean that is robust."""
    return max(FEWEST_GROUPS, groups // 2 + 1)
