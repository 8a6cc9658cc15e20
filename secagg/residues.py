"""Integers that are summed modulo 2^m *with* wrap: for vectors that were made discrete, noised and wrapped before."""

import struct
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from secagg.codec import MAX_SUM_BITS, Encoded, Layout, Segment
from secagg.errors import CodecError
from secagg.packing import Residues, centred, word_type


@dataclass(frozen=True, kw_only=True, slots=True)
class ModularIntegers:
    """Carries integers modulo 2^bits; the sum is exact modulo 2^bits, whatever the number of clients.

    Guarantee: a contribution is a function of the given integers only; nothing is rounded, saturated or refused for its
        size, so that no refusal depends on the values.
    Assumes: whoever made the integers accounts for the wrap: a sum outside −2^(bits−1)…2^(bits−1)−1 comes back shifted
        by a multiple of 2^bits. Weights are public and equal.
    Does not cover: lies; every residue is a possible sum, so that no poison can be told from an honest value.
    Args: bits: 2…62, of the modulus.
    """

    bits: int = 16

    max_weight = 1
    weight_bound = 1
    step = 1.0

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= MAX_SUM_BITS:
            raise CodecError(f"bits = {self.bits} must be 2…{MAX_SUM_BITS}")

    @property
    def largest(self) -> int:
        """The largest absolute value of an integer, and of a sum."""
        return 1 << (self.bits - 1)

    def parameters(self) -> bytes:
        """What tells this codec from every other, for the digest of a plan."""
        # As long as a `FixedPoint`'s, whose first number, the clip, is never zero.
        return struct.pack(">ddBI", 0.0, 0.0, self.bits, self.weight_bound)

    def layout(self, *, dim: int, clients: int, summed_weights: bool) -> Layout:
        """One segment modulo 2^bits for any number of clients; raises CodecError for weights inside the sum."""
        del clients  # the sum wraps by design
        if summed_weights:
            raise CodecError("integers modulo 2^bits have no weights; give public weights of 1, or use FixedPoint")
        return Layout(segments=(Segment(name="values", length=dim, num_bits=self.bits),))

    def encode(
        self,
        vector: NDArray[np.floating] | NDArray[np.integer],
        *,
        layout: Layout,
        weight: int = 1,
        rng: np.random.Generator,
    ) -> Encoded:
        """Reduces integers modulo 2^bits.

        Args: vector: integers, shape (dim,). weight: 1. rng: not used, nothing is rounded.
        Raises: CodecError on anything but integers, a wrong shape or another weight.
        """
        del rng
        values = layout.segments[0]
        if isinstance(weight, bool) or not isinstance(weight, Integral) or weight != 1:
            raise CodecError(f"weight {weight!r} is not 1; integers modulo 2^bits are summed as they are")
        if not np.issubdtype(vector.dtype, np.signedinteger):
            raise CodecError(f"vector of {vector.dtype} is not of signed integers; round it first, or use FixedPoint")
        if vector.shape != (values.length,):
            raise CodecError(f"vector of shape {vector.shape}, this round adds up ({values.length},)")
        residues = (vector.astype(np.int64) & values.modulus_mask).astype(word_type(values.num_bits))
        return Encoded(layout=layout, residues=(residues,))

    def centred(self, residues: Residues, *, layout: Layout) -> NDArray[np.int64]:
        """Maps residues modulo 2^bits to the integers −2^(bits−1)…2^(bits−1)−1, shape (dim,)."""
        return centred(residues, num_bits=layout.segments[0].num_bits)

    def decode(self, integers: NDArray[np.int64], *, total_weight: int) -> NDArray[np.float64]:
        """The mean of the integers; raises CodecError if nobody contributed."""
        if total_weight < 1:
            raise CodecError("total weight is zero; nobody contributed")
        return integers.astype(np.float64) / total_weight
