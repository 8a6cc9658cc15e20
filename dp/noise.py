"""Gaussian noise: from the operating system's generator for privacy, from a seed for simulation."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dp.errors import InvalidParameter

_SUMMANDS = 4


class Gaussian(Protocol):
    """A source of Gaussian noise; `label` says whether it protects anybody ("secure") or not ("simulation")."""

    @property
    def label(self) -> str:
        """Either "secure" or "simulation"; every report repeats it."""

    def draw(self, shape: Sequence[int], stddev: float) -> Tensor:
        """Returns a float64 tensor of `shape` of independent N(0, stddev²)."""


class SecureGaussian:
    """Noise that nobody can predict: AES-256-CTR, keyed anew by the operating system for every draw.

    Guarantee: draws are indistinguishable from Gaussian ones that are independent of each other and of everything
        else; a forked process does not repeat its parent's noise. Each value is the scaled sum of four independent
        Box–Muller variates, so that its floating-point representation does not identify the underlying uniforms.
    Assumes: `entropy` is the operating system's generator (any other one is labelled "simulation").
    Does not cover: timing; the exact distribution in the tails beyond about 8.5 standard deviations of a summand,
        which double precision cannot represent (mass below 1e-17).
    Source: Holohan and Braghin 2021 (Secure random sampling in differential privacy), section 4.
    """

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._entropy = entropy

    @property
    def label(self) -> str:
        """Returns "secure" for the operating system's generator only."""
        return "secure" if self._entropy is os.urandom else "simulation"

    def draw(self, shape: Sequence[int], stddev: float) -> Tensor:
        """Returns a float64 tensor of `shape` of independent N(0, stddev²).

        Raises: InvalidParameter unless 0 < stddev < ∞.
        """
        _require_stddev(stddev)
        count = math.prod(shape)
        pairs = _SUMMANDS // 2 * count
        first, second = secure_uniforms(2 * pairs, self._entropy).reshape(2, pairs)
        radius = np.sqrt(-2.0 * np.log(first))
        angle = 2.0 * np.pi * second
        variates = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)]).reshape(_SUMMANDS, count)
        return torch.from_numpy(variates.sum(axis=0) * (stddev / math.sqrt(_SUMMANDS))).reshape(tuple(shape))


class SeededGaussian:
    """Reproducible noise for simulation: anybody with the seed removes it, so that it protects nobody."""

    label = "simulation"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def draw(self, shape: Sequence[int], stddev: float) -> Tensor:
        """Returns a float64 tensor of `shape` of independent N(0, stddev²).

        Raises: InvalidParameter unless 0 < stddev < ∞.
        """
        _require_stddev(stddev)
        return torch.from_numpy(np.asarray(self._rng.standard_normal(tuple(shape)) * stddev))


def secure_words(count: int, entropy: Callable[[int], bytes]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Returns `count` uniform 64-bit words from AES-256-CTR under a key that is used for this call only."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    stream = Cipher(algorithms.AES(entropy(32)), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(stream.update(bytes(8 * count)), dtype=np.uint64)


def secure_uniforms(count: int, entropy: Callable[[int], bytes]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Returns `count` uniform doubles in (0, 1), never 0 and never 1: multiples of 2⁻⁵³ moved by half a step."""
    words = secure_words(count, entropy)
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def _require_stddev(stddev: float) -> None:
    if not (0 < stddev < math.inf):
        raise InvalidParameter(f"stddev={stddev!r} must be positive and finite; without noise call plain_sum")
