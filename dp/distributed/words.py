"""Uniform 64-bit words for integer noise: from the operating system's generator, or from a seed for simulation."""

import os
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dp.noise import secure_words

Words = NDArray[np.uint64]


class WordSource(Protocol):
    """Independent uniform words; `label` says whether they protect anybody ("secure") or not ("simulation")."""

    @property
    def label(self) -> str:
        """Either "secure" or "simulation"; every report repeats it."""

    def draw(self, count: int) -> Words:
        """Returns `count` uniform words of 64 bits."""


class SecureWords:
    """AES-256-CTR, keyed anew by the operating system for every draw: nobody can predict or repeat it.

    Assumes: `entropy` is the operating system's generator (any other one is labelled "simulation").
    """

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._entropy = entropy

    @property
    def label(self) -> str:
        """Returns "secure" for the operating system's generator only."""
        return "secure" if self._entropy is os.urandom else "simulation"

    def draw(self, count: int) -> Words:
        """Returns `count` uniform words of 64 bits."""
        return secure_words(count, self._entropy)


class SeededWords:
    """Reproducible words for simulation: whoever has the seed removes the noise, so that it protects nobody."""

    label = "simulation"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def draw(self, count: int) -> Words:
        """Returns `count` uniform words of 64 bits."""
        return self._rng.integers(0, 1 << 64, size=count, dtype=np.uint64)


def uniform_below(bound: int, count: int, source: WordSource) -> NDArray[np.int64]:
    """Returns `count` exactly uniform integers in 0…bound−1, by rejection; 1 ≤ bound ≤ 2^62."""
    limit = np.uint64((1 << 64) // bound * bound - 1)
    words = source.draw(count)
    rejected = words > limit
    while rejected.any():
        words = words.copy()
        words[rejected] = source.draw(int(rejected.sum()))
        rejected = words > limit
    return (words % np.uint64(bound)).astype(np.int64)
