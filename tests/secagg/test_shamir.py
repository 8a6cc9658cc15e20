import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import ProtocolError, WireError
from secagg.shamir import PRIME, SHARE_BYTES, combine, split


def pick(shares, points):
    return {point: shares[point - 1] for point in points}


def test_the_prime_is_prime():
    odd, power = PRIME - 1, 0
    while odd % 2 == 0:
        odd, power = odd // 2, power + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        x = pow(base, odd, PRIME)
        assert x in (1, PRIME - 1) or any((x := x * x % PRIME) == PRIME - 1 for _ in range(power - 1))
    assert PRIME > 1 << 256


@given(st.binary(min_size=32, max_size=32), st.integers(1, 12), st.data())
def test_any_threshold_of_shares_gives_the_secret(secret, points, data):
    threshold = data.draw(st.integers(1, points))
    shares = split(secret, points=points, threshold=threshold, entropy=os.urandom)
    chosen = data.draw(st.permutations(range(1, points + 1)))[:threshold]
    assert combine(pick(shares, chosen), points=points) == secret


def test_every_subset_of_seven():
    secret = bytes(range(32))
    shares = split(secret, points=7, threshold=4, entropy=os.urandom)
    for size in (4, 5, 7):
        for chosen in itertools.combinations(range(1, 8), size):
            assert combine(pick(shares, chosen), points=7) == secret
    assert all(combine(pick(shares, c), points=7) != secret for c in itertools.combinations(range(1, 8), 3))


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, b"\x00" * 31 + b"\x01"])
def test_the_ends_of_the_range(secret):
    shares = split(secret, points=5, threshold=3, entropy=os.urandom)
    assert combine(pick(shares, (1, 3, 5)), points=5) == secret
    assert {len(share) for share in shares} == {SHARE_BYTES}


def test_below_the_threshold_every_secret_is_as_likely():
    """Two shares of three: for any secret there is exactly one polynomial that explains them."""
    shares = split(bytes(32), points=3, threshold=3, entropy=os.urandom)
    for guess in (bytes(32), b"\x01" * 32):
        others = pick(shares, (1, 2))
        third = next(iter({combine({**others, 3: _third(others, guess)}, points=3)}))
        assert third == guess


def _third(others, guess):
    s = int.from_bytes(guess, "big")
    y1, y2 = (int.from_bytes(share, "big") for share in others.values())
    return ((s - 3 * y1 + 3 * y2) % PRIME).to_bytes(SHARE_BYTES, "big")  # Lagrange at 0 of points 1, 2, 3


@pytest.mark.parametrize(("size", "points", "threshold"), [(31, 3, 2), (32, 3, 4), (32, 3, 0)])
def test_impossible_sharings(size, points, threshold):
    with pytest.raises(ProtocolError, match="cannot split"):
        split(bytes(size), points=points, threshold=threshold, entropy=os.urandom)


@pytest.mark.parametrize("bad", [b"", bytes(32), bytes(34), PRIME.to_bytes(33, "big"), b"\xff" * 33])
def test_shares_outside_the_field(bad):
    with pytest.raises(WireError, match="not an element"):
        combine({1: bad}, points=1)


def test_a_result_that_is_no_secret():
    assert combine({1: (1 << 256).to_bytes(33, "big")}, points=1) is None


def test_the_same_secret_never_has_the_same_shares():
    one, two = (split(bytes(32), points=4, threshold=2, entropy=os.urandom) for _ in range(2))
    assert not set(one) & set(two)
