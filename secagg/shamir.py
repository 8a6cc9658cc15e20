"""Shamir secret sharing of 32-byte secrets over the prime field of 2^256 + 297 elements.

A share is the 33-byte value of the polynomial at the holder's point 1…n; the points are public and not part of the share.
Source: Shamir, How to share a secret, CACM 1979.
"""

import math
from collections.abc import Callable, Mapping

from secagg.errors import ProtocolError, WireError

PRIME = (1 << 256) + 297
SECRET_BYTES = 32
SHARE_BYTES = 33
_WIDE_BYTES = 48  # 2^384 mod p is uniform to 2^-127

Entropy = Callable[[int], bytes]


def split(secret: bytes, *, points: int, threshold: int, entropy: Entropy) -> tuple[bytes, ...]:
    """Splits `secret` so that any `threshold` of the shares at 1…points give it back and fewer say nothing.

    Guarantee: threshold-1 shares are uniform and independent of the secret, up to 2^-127 a coefficient.
    Args: secret: 32 bytes. entropy: a secure source.
    """
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= points:
        raise ProtocolError(f"cannot split {len(secret)} bytes {threshold}-of-{points}")
    wide = entropy(_WIDE_BYTES * (threshold - 1))
    coefficients = [
        int.from_bytes(wide[start : start + _WIDE_BYTES], "big") % PRIME for start in range(0, len(wide), _WIDE_BYTES)
    ]
    constant, shares = int.from_bytes(secret, "big"), []
    for x in range(1, points + 1):
        value = 0
        for coefficient in coefficients:
            value = (value + coefficient) * x
        shares.append(((value + constant) % PRIME).to_bytes(SHARE_BYTES, "big"))
    return tuple(shares)


def combine(shares: Mapping[int, bytes]) -> bytes | None:
    """Interpolates at 0 from exactly the given {point: share}; None where the result is not a 32-byte secret.

    Does not cover: wrong shares give a wrong secret; check it against a commitment.
    Raises: WireError on a share that is no field element.
    """
    points = list(shares)
    values = [_element(shares[point]) for point in points]
    numerator = math.prod(points)
    denominators = [x * math.prod(other - x for other in points if other != x) % PRIME for x in points]
    inverses = _invert_all(denominators)
    secret = numerator * sum(v * i for v, i in zip(values, inverses, strict=True)) % PRIME
    return secret.to_bytes(SECRET_BYTES, "big") if secret < 1 << 256 else None


def _element(share: bytes) -> int:
    value = int.from_bytes(share, "big")
    if len(share) != SHARE_BYTES or value >= PRIME:
        raise WireError(f"share of {len(share)} bytes is not an element of the field")
    return value


def _invert_all(elements: list[int]) -> list[int]:
    """Inverts non-zero field elements with a single modular inversion."""
    products = [1]
    for element in elements:
        products.append(products[-1] * element % PRIME)
    inverse, inverses = pow(products[-1], -1, PRIME), [0] * len(elements)
    for index in range(len(elements) - 1, -1, -1):
        inverses[index] = inverse * products[index] % PRIME
        inverse = inverse * elements[index] % PRIME
    return inverses
