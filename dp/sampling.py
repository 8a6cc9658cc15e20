"""Poisson sampling: every example enters every step independently with the public rate q."""

import os
from collections.abc import Callable
from typing import Protocol

import numpy as np

from dp.errors import InvalidParameter
from dp.events import require_sample_rate
from dp.noise import secure_words

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]


class Sampler(Protocol):
    """Draws Poisson samples; `label` is "secure" or "simulation", as for noise."""

    @property
    def label(self) -> str:
        """Either "secure" or "simulation"."""

    def draw(self, count: int, sample_rate: float) -> Indices:
        """Returns the ascending indices below `count` that enter this step, possibly none."""


class SecurePoisson:
    """Poisson samples that nobody can predict: amplification by sampling needs the sample to be secret.

    Guarantee: each index is in the sample independently, with probability ⌊q·2⁶⁴⌋/2⁶⁴ ≤ q.
    Assumes: the sample, its size included, is never sent or logged.
    """

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._entropy = entropy

    @property
    def label(self) -> str:
        """Returns "secure" for the operating system's generator only."""
        return "secure" if self._entropy is os.urandom else "simulation"

    def draw(self, count: int, sample_rate: float) -> Indices:
        """Returns the ascending indices in this step's sample.

        Args: count: n ≥ 0, private. sample_rate: q in (0, 1], public.
        Raises: InvalidParameter.
        """
        _require(count, sample_rate)
        if sample_rate == 1:
            return np.arange(count, dtype=np.int64)
        words = secure_words(count, self._entropy)
        return np.flatnonzero(words < np.uint64(int(sample_rate * 2.0**64))).astype(np.int64)


class SeededPoisson:
    """Reproducible Poisson samples, for simulation."""

    label = "simulation"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def draw(self, count: int, sample_rate: float) -> Indices:
        """Returns the ascending indices in this step's sample.

        Raises: InvalidParameter.
        """
        _require(count, sample_rate)
        return np.flatnonzero(self._rng.random(count) < sample_rate).astype(np.int64)


def draw_by_group(sampler: Sampler, group_N: Indices, sample_rates: tuple[float, ...]) -> Indices:
    """Draws a Poisson sample in which every example enters with the rate of its group.

    Args: group_N: each example's group, shape (n,), indices into `sample_rates`; private. sample_rates: public.
    Returns: the ascending indices of the sample.
    Raises: InvalidParameter for an example of a group without a rate.
    """
    if len(group_N) and not (group_N.min() >= 0 and group_N.max() < len(sample_rates)):
        raise InvalidParameter(f"every example's group must be below {len(sample_rates)}, the number of rates")
    chosen = []
    for group, rate in enumerate(sample_rates):
        members = np.flatnonzero(group_N == group).astype(np.int64)
        chosen.append(members[sampler.draw(len(members), rate)])
    return np.sort(np.concatenate(chosen))


def _require(count: int, sample_rate: float) -> None:
    require_sample_rate(sample_rate)
    if count < 0:
        raise InvalidParameter(f"count={count} must be at least 0")
