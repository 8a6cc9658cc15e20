"""m-bit residues packed to m bits each, without a Python loop over coordinates.

`width` residues share one column of words: lane j holds residues j·rows … (j+1)·rows, and word row w holds the bits
w·width … (w+1)·width of the concatenated lanes. All accesses are contiguous, so packing costs about a copy.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import WireError

Residues = NDArray[np.unsignedinteger[Any]]


def word_type(num_bits: int) -> type[np.uint32] | type[np.uint64]:
    """Returns the smallest word that holds residues of `num_bits` bits."""
    return np.uint32 if num_bits <= 32 else np.uint64


def centred(residues: Residues, *, num_bits: int) -> NDArray[np.int64]:
    """Returns the representatives -2^(num_bits-1)…2^(num_bits-1)-1 of residues modulo 2^num_bits."""
    signed = residues.astype(np.int64)
    signed[signed >= 1 << (num_bits - 1)] -= 1 << num_bits
    return signed


def packed_bytes(length: int, num_bits: int) -> int:
    """Returns the size of `pack` for `length` residues of `num_bits` bits."""
    width = 8 * np.dtype(word_type(num_bits)).itemsize
    return -(-length // width) * num_bits * (width // 8)


def pack(residues: Residues, *, num_bits: int) -> bytes:
    """Packs residues below 2^num_bits.

    Args: residues: shape (length,), `word_type(num_bits)`; higher bits must be zero. num_bits: 1…64.
    """
    word = word_type(num_bits)
    width = 8 * np.dtype(word).itemsize
    rows = -(-len(residues) // width)
    lanes = np.zeros((width, rows), dtype=word)
    lanes.reshape(-1)[: len(residues)] = residues
    words = np.zeros((num_bits, rows), dtype=word)
    for lane in range(width):
        index, shift = divmod(lane * num_bits, width)
        words[index] |= lanes[lane] << word(shift)
        if shift + num_bits > width:
            words[index + 1] |= lanes[lane] >> word(width - shift)
    return words.astype(words.dtype.newbyteorder("<"), copy=False).tobytes()


def unpack(data: bytes, *, length: int, num_bits: int) -> Residues:
    """Inverts `pack`.

    Raises: WireError on a wrong size or on padding that is not zero.
    """
    word = word_type(num_bits)
    width = 8 * np.dtype(word).itemsize
    if len(data) != packed_bytes(length, num_bits):
        raise WireError(f"packed vector has {len(data)} bytes, {packed_bytes(length, num_bits)} expected")
    rows = -(-length // width)
    words = np.frombuffer(data, dtype=np.dtype(word).newbyteorder("<")).astype(word, copy=False).reshape(num_bits, rows)
    lanes = np.empty((width, rows), dtype=word)
    mask = word((1 << num_bits) - 1)
    for lane in range(width):
        index, shift = divmod(lane * num_bits, width)
        np.right_shift(words[index], word(shift), out=lanes[lane])
        if shift + num_bits > width:
            lanes[lane] |= words[index + 1] << word(width - shift)
    lanes &= mask
    flat = lanes.reshape(-1)
    if flat[length:].any():
        raise WireError("packed vector: padding is not zero")
    return flat[:length]
