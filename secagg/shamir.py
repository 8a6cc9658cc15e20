"""Shamir secret sharing of 32-byte secrets over the prime field of 2^256 + 297 elements.

A share is the 33-byte value of the polynomial at the holder's point 1…n; the points are public, not part of the share.
Source: Shamir 1979, *How to share a secret*, CACM.
"""

import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import accumulate

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


def combine(shares: Mapping[int, bytes], *, points: int) -> bytes | None:
    """Interpolates at 0 from exactly the given {point: share}; None where the result is not a 32-byte secret.

    Args: points: how many shares were dealt; every given point is in 1…points.
    Does not cover: wrong shares give a wrong secret; check it against a commitment.
    Raises: WireError on a share that is no field element.
    """
    inverses, missing = _inverse_products(points), [x for x in range(1, points + 1) if x not in shares]
    total = 0
    for point, share in shares.items():
        # 1/Π(other - point) over the given points, from the product over all points
        total += _element(share) * inverses[point - 1] * math.prod([x - point for x in missing])
    secret = total * math.prod(shares) % PRIME
    return secret.to_bytes(SECRET_BYTES, "big") if secret < 1 << 256 else None


def _element(share: bytes) -> int:
    value = int.from_bytes(share, "big")
    if len(share) != SHARE_BYTES or value >= PRIME:
        raise WireError(f"share of {len(share)} bytes is not an element of the field")
    return value


@lru_cache(maxsize=16)
def _inverse_products(points: int) -> tuple[int, ...]:
    """For x in 1…points the inverse of x·Π(other - x) over all others: (-1)^(x-1)·x!·(points-x)!."""
    factorials = list(accumulate(range(1, points + 1), operator.mul, initial=1))
    return tuple(pow((-1) ** (x - 1) * factorials[x] * factorials[points - x], -1, PRIME) for x in range(1, points + 1))
