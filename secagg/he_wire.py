"""Ciphertexts and public keys on the wire: residues packed to the bits of their primes, nothing else, nothing optional.

No library parses a message: sizes are known before, each residue is compared with its prime, and whoever only adds
needs no homomorphic library at all.
"""

import numpy as np
from numpy.typing import NDArray

from secagg.errors import WireError
from secagg.he_parameters import polynomial_bytes
from secagg.packing import pack, unpack, word_type

Polynomials = tuple[NDArray[np.uint64], ...]
"""For each prime one array of shape (polynomials, degree)."""


def pack_polynomials(polynomials: Polynomials, *, primes: tuple[int, ...]) -> bytes:
    """Prime after prime; polynomials of a degree that is a multiple of 64 leave no padding."""
    parts = []
    for prime, array in zip(primes, polynomials, strict=True):
        num_bits = prime.bit_length()
        parts.append(pack(array.reshape(-1).astype(word_type(num_bits), copy=False), num_bits=num_bits))
    return b"".join(parts)


def unpack_polynomials(data: bytes, *, count: int, primes: tuple[int, ...], degree: int) -> Polynomials:
    """Inverts `pack_polynomials`; raises WireError on another size, or on a residue that is not below its prime."""
    expected = count * polynomial_bytes(primes, degree=degree)
    if len(data) != expected:
        raise WireError(f"{len(data)} bytes of polynomials, {expected} expected")
    arrays, position = [], 0
    for prime in primes:
        end = position + count * polynomial_bytes((prime,), degree=degree)
        array = unpack(data[position:end], length=count * degree, num_bits=prime.bit_length()).astype(np.uint64)
        if (array >= prime).any():
            raise WireError("a ciphertext holds a residue that is not below its prime; it is of another context")
        arrays.append(array.reshape(count, degree))
        position = end
    return tuple(arrays)


def add_polynomials(total: Polynomials, polynomials: Polynomials, *, primes: tuple[int, ...]) -> None:
    """Adds in place, modulo each prime: all that the server does to ciphertexts."""
    for sum_array, array, prime in zip(total, polynomials, primes, strict=True):
        np.add(sum_array, array, out=sum_array)  # below 2^61
        np.minimum(sum_array, sum_array - np.uint64(prime), out=sum_array)  # the difference wraps where it is negative
