"""Real vectors as integers modulo 2^m, and back: clip, unbiased rounding, a static proof that no sum overflows."""

import math
import struct
from dataclasses import dataclass, field
from numbers import Integral
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from secagg.errors import CodecError, WireError
from secagg.packing import Residues, centred, pack, packed_bytes, unpack, word_type
from secagg.wire import Reader, Writer

MAX_SUM_BITS = 62
MAGIC = b"FSE\x01"
_FRACTION_BITS = 32
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One vector of a contribution: its name, its length and the modulus 2^num_bits that it is added up in."""

    name: str
    length: int
    num_bits: int

    @property
    def modulus_mask(self) -> int:
        """The largest residue."""
        return (1 << self.num_bits) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The segments of a contribution, in order; public, the same for every client of a round."""

    segments: tuple[Segment, ...]

    @property
    def packed_bytes(self) -> int:
        """Size of a packed contribution."""
        return sum(packed_bytes(segment.length, segment.num_bits) for segment in self.segments)

    def pack(self, residues: tuple[Residues, ...]) -> bytes:
        """Packs one array a segment."""
        return b"".join(
            pack(array, num_bits=segment.num_bits) for segment, array in zip(self.segments, residues, strict=True)
        )

    def unpack(self, data: bytes) -> tuple[Residues, ...]:
        """Inverts `pack`; raises WireError on any other size."""
        if len(data) != self.packed_bytes:
            raise WireError(f"contribution has {len(data)} bytes, this round's layout needs {self.packed_bytes}")
        arrays, position = [], 0
        for segment in self.segments:
            end = position + packed_bytes(segment.length, segment.num_bits)
            arrays.append(unpack(data[position:end], length=segment.length, num_bits=segment.num_bits))
            position = end
        return tuple(arrays)

    def reduce(self, residues: tuple[Residues, ...]) -> None:
        """Reduces each array modulo its 2^m, in place."""
        for segment, array in zip(self.segments, residues, strict=True):
            np.bitwise_and(array, array.dtype.type(segment.modulus_mask), out=array)

    def zeros(self) -> tuple[Residues, ...]:
        """A contribution of zeros, writable."""
        return tuple(np.zeros(segment.length, dtype=word_type(segment.num_bits)) for segment in self.segments)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Encoded:
    """A client's contribution as residues; `to_bytes` is what a ledger stores and a plain upload sends.

    Args: layout: the round's. residues: one read-only array a segment, each below its modulus.
    """

    layout: Layout
    residues: tuple[Residues, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.residues) != len(self.layout.segments):
            raise CodecError("contribution and layout have different numbers of segments")
        for segment, array in zip(self.layout.segments, self.residues, strict=True):
            if array.shape != (segment.length,) or array.dtype != word_type(segment.num_bits):
                raise CodecError(f"segment {segment.name}: shape {array.shape} {array.dtype} does not fit the layout")
            array.flags.writeable = False

    def to_bytes(self) -> bytes:
        """Encodes layout and residues; `from_bytes` inverts it."""
        writer = Writer(MAGIC).uint(len(self.layout.segments), num_bytes=1)
        for segment in self.layout.segments:
            writer.text(segment.name).uint(segment.length, num_bytes=8).uint(segment.num_bits, num_bytes=1)
        return writer.blob(self.layout.pack(self.residues)).done()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Encoded":
        """Parses strictly; raises WireError."""
        reader = Reader(data=data, what="contribution").magic(MAGIC)
        segments = []
        for _ in range(reader.uint(num_bytes=1)):
            segment = Segment(name=reader.text(), length=reader.uint(num_bytes=8), num_bits=reader.uint(num_bytes=1))
            if not 1 <= segment.num_bits <= 64:
                raise WireError(f"contribution: segment {segment.name!r} of {segment.num_bits} bits; 1…64 allowed")
            segments.append(segment)
        layout = Layout(segments=tuple(segments))
        residues = layout.unpack(reader.blob())
        reader.end()
        return cls(layout=layout, residues=residues)


class Codec(Protocol):
    """From a client's vector to residues modulo 2^m and from their sum to a mean: `FixedPoint`, `ModularIntegers`."""

    @property
    def max_weight(self) -> int | None:
        """The largest weight, or None where a plan fills it in."""

    @property
    def weight_bound(self) -> int:
        """The largest weight."""

    @property
    def largest(self) -> int:
        """The largest absolute value of a contributed integer."""

    @property
    def step(self) -> float:
        """The real value of integer 1."""

    def parameters(self) -> bytes:
        """What tells this codec from every other, for the digest of a plan."""

    def layout(self, *, dim: int, clients: int, summed_weights: bool) -> Layout:
        """Segments and moduli of a round."""

    def encode(
        self,
        vector: NDArray[np.floating] | NDArray[np.integer],
        *,
        layout: Layout,
        weight: int = 1,
        rng: np.random.Generator,
    ) -> Encoded:
        """Encodes one client's vector; raises CodecError."""

    def centred(self, residues: Residues, *, layout: Layout) -> NDArray[np.int64]:
        """Maps residues to signed integers."""

    def decode(self, integers: NDArray[np.int64], *, total_weight: int) -> NDArray[np.float64]:
        """Turns the integer sum into the weighted mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedPoint:
    """Clips, scales and rounds each coordinate to a signed integer of `bits` bits.

    Guarantee: the rounding is unbiased (to 2^-32 of a step) and 2^m ≥ 2·clients·(2^(bits-1)-1)+1, so no sum of
        `clients` contributions wraps; with public weights a contribution is a function of the given vector only.
    Assumes: a vector that is already private where it must be: under DP pass the *noised* vector, since refusals (NaN,
        saturation) are visible.
    Does not cover: sensitivity after rounding; calibrate for it, or noise first.
    Args:
        clip: largest absolute value of a coordinate. bits: 2…32 a coordinate. max_weight: weights are integers
        1…max_weight; a vector is scaled by weight/max_weight first, so one step is clip·max_weight/(2^(bits-1)-1) at
        weight 1. None: 1, or the largest weight of a simulation or of a public table. max_saturated: largest fraction
        of the coordinates that may be clipped before encoding refuses.
    """

    clip: float
    bits: int = 16
    max_weight: int | None = None
    max_saturated: float = 0.001

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clip) and self.clip > 0):
            raise CodecError(f"clip = {self.clip} must be finite and positive")
        if not 2 <= self.bits <= 32:
            raise CodecError(f"bits = {self.bits} must be 2…32")
        if self.max_weight is not None and not 1 <= self.max_weight < 1 << 32:
            raise CodecError(f"max_weight = {self.max_weight} must be 1…2^32-1")
        if not 0 <= self.max_saturated <= 1:
            raise CodecError(f"max_saturated = {self.max_saturated} must be 0…1")

    @property
    def weight_bound(self) -> int:
        """`max_weight`, or 1."""
        return self.max_weight or 1

    @property
    def largest(self) -> int:
        """The integer that `clip` maps to."""
        return (1 << (self.bits - 1)) - 1

    @property
    def step(self) -> float:
        """The real value of integer 1."""
        return self.clip / self.largest

    def parameters(self) -> bytes:
        """What tells this codec from every other, for the digest of a plan."""
        return struct.pack(">ddBI", self.clip, self.max_saturated, self.bits, self.weight_bound)

    def layout(self, *, dim: int, clients: int, summed_weights: bool) -> Layout:
        """Returns the smallest moduli that provably hold every sum of `clients` contributions of `dim` coordinates."""
        segments = [Segment(name="values", length=dim, num_bits=(2 * clients * self.largest).bit_length())]
        if summed_weights:
            segments.append(Segment(name="weight", length=1, num_bits=(clients * self.weight_bound).bit_length()))
        for segment in segments:
            if segment.num_bits > MAX_SUM_BITS:
                raise CodecError(
                    f"sum of {segment.name} needs {segment.num_bits} bits, over {MAX_SUM_BITS}; lower bits, max_weight"
                )
        return Layout(segments=tuple(segments))

    def encode(
        self,
        vector: NDArray[np.floating] | NDArray[np.integer],
        *,
        layout: Layout,
        weight: int = 1,
        rng: np.random.Generator,
    ) -> Encoded:
        """Encodes one client's vector, scaled by weight/max_weight.

        Args: vector: shape (dim,), finite. weight: 1…max_weight. rng: rounds; a fresh child for every attempt.
        Raises: CodecError on NaN or infinity, too much saturation, a wrong shape or a weight out of bounds.
        """
        values = layout.segments[0]
        if isinstance(weight, bool) or not isinstance(weight, Integral) or not 1 <= weight <= self.weight_bound:
            raise CodecError(f"weight {weight!r} is not an integer in 1…{self.weight_bound}; raise max_weight")
        if vector.shape != (values.length,):
            raise CodecError(f"vector of shape {vector.shape}, this round adds up ({values.length},)")
        word, scale = word_type(values.num_bits), int(weight) / self.weight_bound / self.step
        residues, saturated = np.empty(values.length, dtype=word), 0
        for start in range(0, values.length, _CHUNK):
            chunk = vector[start : start + _CHUNK].astype(np.float64)
            saturated += _round_into(residues[start : start + _CHUNK], chunk, clip=self.clip, scale=scale, rng=rng)
        if saturated > self.max_saturated * values.length:
            raise CodecError(
                f"{saturated} of {values.length} coordinates lie beyond clip = {self.clip}, more than "
                f"max_saturated = {self.max_saturated} allows; raise the clip"
            )
        residues &= word(values.modulus_mask)
        extra = tuple(np.full(1, weight, dtype=word_type(segment.num_bits)) for segment in layout.segments[1:])
        return Encoded(layout=layout, residues=(residues, *extra))

    def centred(self, residues: Residues, *, layout: Layout) -> NDArray[np.int64]:
        """Maps residues modulo 2^m to the integers -2^(m-1)…2^(m-1)-1, shape (dim,)."""
        return centred(residues, num_bits=layout.segments[0].num_bits)

    def decode(self, integers: NDArray[np.int64], *, total_weight: int) -> NDArray[np.float64]:
        """Turns the integer sum into the weighted mean; raises CodecError on zero total weight."""
        if total_weight < 1:
            raise CodecError("total weight is zero; nobody contributed")
        return integers.astype(np.float64) * (self.step * self.weight_bound / total_weight)


def _round_into(
    out: Residues, chunk: NDArray[np.float64], *, clip: float, scale: float, rng: np.random.Generator
) -> int:
    """Rounds `chunk`·scale stochastically into `out`, modulo the word; eats `chunk`; returns how many it clipped."""
    lowest, highest = float(chunk.min()), float(chunk.max())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise CodecError("vector holds NaN or infinity; nothing was encoded")
    saturated = 0
    if lowest < -clip or highest > clip:
        saturated = int(np.count_nonzero(np.abs(chunk) > clip))
        np.clip(chunk, -clip, clip, out=chunk)
    chunk *= scale * (1 << _FRACTION_BITS)
    if saturated or max(-lowest, highest) >= clip:
        bound = round(clip * scale) << _FRACTION_BITS  # the product may have rounded up past the largest integer
        np.clip(chunk, -bound, bound, out=chunk)
    fixed = np.rint(chunk, out=chunk).astype(np.int64)
    fixed += np.frombuffer(rng.bytes(4 * len(fixed)), dtype="<u4")
    fixed >>= _FRACTION_BITS
    out[:] = fixed.astype(out.dtype)
    return saturated
