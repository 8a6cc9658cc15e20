import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import WireError
from secagg.packing import pack, packed_bytes, unpack, word_type


@given(st.integers(1, 64), st.integers(1, 300), st.integers(0, 2**32))
def test_round_trip(num_bits, length, seed):
    rng = np.random.default_rng(seed)
    residues = rng.integers(0, 1 << num_bits, length, dtype=np.uint64, endpoint=False) if num_bits < 64 else None
    if residues is None:
        residues = rng.integers(0, (1 << 64) - 1, length, dtype=np.uint64, endpoint=True)
    residues = residues.astype(word_type(num_bits))
    data = pack(residues, num_bits=num_bits)
    assert len(data) == packed_bytes(length, num_bits)
    assert (unpack(data, length=length, num_bits=num_bits) == residues).all()


@pytest.mark.parametrize(("num_bits", "length"), [(23, 100_000), (27, 100_000), (33, 64)])
def test_m_bits_a_value(num_bits, length):
    assert packed_bytes(length, num_bits) == length * num_bits / 8


def test_the_largest_residues_survive():
    for num_bits in (1, 31, 32, 33, 63, 64):
        top = np.full(70, (1 << num_bits) - 1, dtype=word_type(num_bits))
        assert (unpack(pack(top, num_bits=num_bits), length=70, num_bits=num_bits) == top).all()


@pytest.mark.parametrize("size", [0, 91, 93, 1 << 20])
def test_another_size_is_refused(size):
    with pytest.raises(WireError, match="92 expected"):
        unpack(bytes(size), length=10, num_bits=23)


def test_padding_must_be_zero():
    data = bytearray(pack(np.zeros(10, dtype=np.uint32), num_bits=23))
    data[-1] = 1
    with pytest.raises(WireError, match="padding"):
        unpack(bytes(data), length=10, num_bits=23)


def test_the_argument_is_left_alone():
    residues = np.arange(40, dtype=np.uint32)
    pack(residues, num_bits=6)
    assert (residues == np.arange(40)).all()
