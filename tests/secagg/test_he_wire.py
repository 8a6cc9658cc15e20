import numpy as np
import pytest

import secagg
from secagg.he_wire import add_polynomials, pack_polynomials, unpack_polynomials

PRIMES = (1152921504606830593, 65537, 4294957057)


def some(seed=0, *, count=4, degree=128):
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, prime, (count, degree), dtype=np.uint64) for prime in PRIMES)


def unpacked(data):
    return unpack_polynomials(data, count=4, primes=PRIMES, degree=128)


def test_round_trip_without_padding():
    data = pack_polynomials(some(), primes=PRIMES)
    assert len(data) == 4 * 128 * (60 + 17 + 32) // 8
    for one, two in zip(some(), unpacked(data), strict=True):
        assert (one == two).all()


def test_addition_is_modular():
    one, two = some(1), some(2)
    top = tuple(np.full((4, 128), prime - 1, dtype=np.uint64) for prime in PRIMES)
    for left, right in ((one, two), (top, top)):
        total = tuple(array.copy() for array in left)
        add_polynomials(total, right, primes=PRIMES)
        for array, a, b, prime in zip(total, left, right, PRIMES, strict=True):
            assert array.tolist() == ((a.astype(object) + b.astype(object)) % prime).tolist()


@pytest.mark.parametrize("index", range(3))
def test_residues_of_another_context_are_refused(index):
    broken = some()
    broken[index][3, 127] = PRIMES[index]
    with pytest.raises(secagg.WireError, match="not below its prime"):
        unpacked(pack_polynomials(broken, primes=PRIMES))


def test_other_sizes_are_refused_before_anything_is_parsed():
    data = pack_polynomials(some(), primes=PRIMES)
    for wrong in (b"", data[:-1], data + b"\0", data * 2):
        with pytest.raises(secagg.WireError, match=f"{len(wrong)} bytes of polynomials, {len(data)} expected"):
            unpacked(wrong)
