"""Randomised Walsh–Hadamard rotation: spreads a vector evenly over its coordinates and keeps its norm; no padding.

Any dimension d is covered by two overlapping blocks of 2^k ≤ d coordinates, the first and the last; each is multiplied
by random signs and a Walsh–Hadamard matrix. The product of the two orthonormal maps is orthonormal.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dp.errors import InvalidParameter

Vector = NDArray[np.float64]

_MATRIX_BITS = 8  # a block is multiplied by small Hadamard matrices, 2^8 a time: one BLAS call each


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotation:
    """An orthonormal map of R^dim that every party derives from public bytes.

    Guarantee: norm-preserving up to floating-point rounding, for every seed. With fresh signs, a coordinate of a
        rotated vector x is sub-Gaussian with parameter ‖x‖²/`block`, so that no coordinate is large.
    Does not cover: a vector that was chosen after the seed became known may have large coordinates: they may wrap,
        which costs utility, never privacy.
    Args: dim: d ≥ 1. seed: public, fresh for every round.
    Source: Ailon and Chazelle 2006; Kairouz, Liu and Steinke 2021 (arXiv 2102.06387), section 4.
    """

    dim: int
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or self.dim < 1:
            raise InvalidParameter(f"dim={self.dim!r} must be an integer of at least 1")

    @property
    def block(self) -> int:
        """2^k, the largest power of two up to dim."""
        return largest_block(self.dim)

    def forward(self, vector: Vector) -> Vector:
        """Rotates; shape (dim,) to (dim,), float64."""
        rotated, (head, tail) = self._checked(vector), self._signs()
        start = self.dim - self.block
        rotated[: self.block] = _walsh_hadamard(rotated[: self.block] * head)
        if start:
            rotated[start:] = _walsh_hadamard(rotated[start:] * tail)
        return rotated

    def inverse(self, vector: Vector) -> Vector:
        """Undoes `forward`; shape (dim,) to (dim,), float64."""
        restored, (head, tail) = self._checked(vector), self._signs()
        start = self.dim - self.block
        if start:
            restored[start:] = _walsh_hadamard(restored[start:]) * tail
        restored[: self.block] = _walsh_hadamard(restored[: self.block]) * head
        return restored

    def _checked(self, vector: Vector) -> Vector:
        if vector.shape != (self.dim,):
            raise InvalidParameter(f"vector of shape {vector.shape} cannot be rotated in {self.dim} dimensions")
        return vector.astype(np.float64)

    def _signs(self) -> tuple[Vector, Vector]:
        """Two rows of ±1, each of `block` bits of SHAKE-256 over the seed."""
        count = 2 * self.block
        stream = hashlib.shake_256(b"fedpeft-secure/rotation/v1" + self.seed).digest(-(-count // 8))
        bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8), count=count)
        first, second = 1.0 - 2.0 * bits.astype(np.float64).reshape(2, self.block)
        return first, second


def largest_block(dim: int) -> int:
    """The largest power of two up to `dim`."""
    return 1 << (dim.bit_length() - 1)


def _walsh_hadamard(vector: Vector) -> Vector:
    """The orthonormal Walsh–Hadamard transform of 2^k values: its own inverse."""
    remaining = vector.size.bit_length() - 1
    values = vector
    while remaining:
        bits = min(remaining, _MATRIX_BITS)
        # Each pass transforms the trailing index and moves it to the front; after all passes the order is restored.
        values = (_matrix(bits) @ values.reshape(-1, 1 << bits).T).reshape(-1)
        remaining -= bits
    return values


def _matrix(bits: int) -> NDArray[np.float64]:
    """The orthonormal Hadamard matrix of 2^bits rows, in Sylvester's order."""
    matrix: NDArray[np.float64] = np.ones((1, 1))
    for _ in range(bits):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    normalised: NDArray[np.float64] = matrix / np.sqrt(1 << bits)
    return normalised
