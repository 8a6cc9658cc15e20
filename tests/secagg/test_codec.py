import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.codec import MAX_SUM_BITS, Encoded, FixedPoint, Layout, Segment
from secagg.errors import CodecError, WireError


def encoded(codec, vector, *, clients=1, weight=1, summed=False, seed=0):
    layout = codec.layout(dim=len(vector), clients=clients, summed_weights=summed)
    return codec.encode(vector, layout=layout, weight=weight, rng=np.random.default_rng(seed))


def decoded(codec, contribution, *, total_weight=1):
    integers = codec.centred(contribution.residues[0], layout=contribution.layout)
    return codec.decode(integers, total_weight=total_weight)


@given(st.integers(2, 32), st.floats(1e-6, 1e6), st.integers(1, 10_000), st.integers(0, 2**32))
def test_each_coordinate_is_off_by_less_than_a_step(bits, clip, clients, seed):
    codec = FixedPoint(clip=clip, bits=bits)
    vector = np.random.default_rng(seed).uniform(-clip, clip, 50)
    assert np.abs(decoded(codec, encoded(codec, vector, clients=clients)) - vector).max() <= codec.step * (1 + 1e-9)


@pytest.mark.parametrize("bits", range(2, 33))
def test_the_ends_and_zero_are_exact(bits):
    codec = FixedPoint(clip=0.3, bits=bits)
    for seed in range(20):
        integers = encoded(codec, np.array([-0.3, 0.0, 0.3]), seed=seed)
        signed = codec.centred(integers.residues[0], layout=integers.layout)
        assert signed.tolist() == [-codec.largest, 0, codec.largest]


class Extreme:
    """Rounds everything up, or everything down: the worst that the generator can do."""

    def __init__(self, byte):
        self.byte = byte

    def bytes(self, length):
        return self.byte * length


@pytest.mark.parametrize("byte", [b"\xff", b"\0"])
@pytest.mark.parametrize("bits", [2, 16, 24, 28, 32])
def test_no_rounding_leaves_the_range_that_the_modulus_is_made_for(bits, byte):
    """clip · scale may come out a little above the largest integer in floats."""
    for clip in np.exp(np.random.default_rng(bits).uniform(-20, 20, 200)).tolist():
        codec = FixedPoint(clip=clip, bits=bits)
        near = np.nextafter(clip, 0)
        layout = codec.layout(dim=4, clients=1, summed_weights=False)
        for vector in (np.array([clip, -clip, near, -near]), np.array([near, -near, 0.0, near])):
            signed = codec.centred(codec.encode(vector, layout=layout, rng=Extreme(byte)).residues[0], layout=layout)
            assert np.abs(signed).max() <= codec.largest
            assert (np.sign(signed) == np.sign(vector)).all()


def test_rounding_is_unbiased_and_not_nearest():
    codec = FixedPoint(clip=7.0, bits=4)  # a step is 1
    values = np.full(200_000, 2.3)
    mean = decoded(codec, encoded(codec, values)).mean()
    assert abs(mean - 2.3) < 5 * np.sqrt(0.21 / 200_000)
    assert abs(mean - 2.0) > 0.2


@pytest.mark.parametrize("clients", [1, 2, 3, 99, 100, 101, 300, 1000, 4097])
@pytest.mark.parametrize("bits", [2, 8, 16, 24])
def test_the_modulus_is_the_smallest_that_cannot_overflow(clients, bits):
    codec = FixedPoint(clip=1.0, bits=bits)
    num_bits = codec.layout(dim=1, clients=clients, summed_weights=False).segments[0].num_bits
    reachable = 2 * clients * codec.largest + 1
    assert 2 ** (num_bits - 1) < reachable <= 2**num_bits


def test_no_sum_wraps_at_the_extremes():
    codec = FixedPoint(clip=1.0, bits=16)
    layout = codec.layout(dim=2, clients=300, summed_weights=False)
    total = layout.zeros()
    for _ in range(300):
        for array, part in zip(total, encoded(codec, np.array([1.0, -1.0]), clients=300).residues, strict=True):
            np.add(array, part, out=array)
    layout.reduce(total)
    assert codec.centred(total[0], layout=layout).tolist() == [300 * 32767, -300 * 32767]


def test_weights_scale_and_travel_exactly():
    codec = FixedPoint(clip=1.0, bits=16, max_weight=1000)
    contribution = encoded(codec, np.array([0.5]), weight=400, summed=True)
    assert contribution.residues[1].tolist() == [400]
    assert abs(decoded(codec, contribution, total_weight=400)[0] - 0.5) < codec.step * 1000 / 400
    assert contribution.layout.segments[1].num_bits == (1000).bit_length()


def test_one_for_all_loses_no_precision_to_the_weight():
    """Where all weights are 1, nothing is divided by a large maximum."""
    assert FixedPoint(clip=1.0).weight_bound == 1
    codec = FixedPoint(clip=1.0)
    assert abs(decoded(codec, encoded(codec, np.array([0.123456])))[0] - 0.123456) <= codec.step


@pytest.mark.parametrize("weight", [0, -3, 11, 2.0, True, None])
def test_weights_out_of_bounds(weight):
    codec = FixedPoint(clip=1.0, max_weight=10)
    with pytest.raises(CodecError, match="is not an integer in 1…10"):
        encoded(codec, np.zeros(2), weight=weight)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad):
    vector = np.zeros(70_000)
    vector[-1] = bad
    with pytest.raises(CodecError, match="NaN or infinity"):
        encoded(FixedPoint(clip=1.0), vector)


@pytest.mark.parametrize(("clipped", "allowed"), [(0, True), (10, True), (11, False)])
def test_saturation(clipped, allowed):
    codec = FixedPoint(clip=1.0, max_saturated=0.01)
    vector = np.full(1000, 0.25)
    vector[:clipped] = 3.0
    if allowed:
        assert np.abs(decoded(codec, encoded(codec, vector)) - np.clip(vector, -1, 1)).max() <= codec.step
    else:
        with pytest.raises(CodecError, match="11 of 1000 coordinates lie beyond clip"):
            encoded(codec, vector)


def test_the_argument_is_left_alone():
    vector = np.array([0.1, 5.0])
    encoded(FixedPoint(clip=1.0, max_saturated=1.0), vector)
    assert vector.tolist() == [0.1, 5.0]


def test_float32_and_long_vectors():
    vector = np.random.default_rng(0).uniform(-1, 1, 150_001).astype(np.float32)
    codec = FixedPoint(clip=1.0)
    assert np.abs(decoded(codec, encoded(codec, vector)) - vector).max() <= codec.step * (1 + 1e-9)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"clip": 0.0}, "clip"),
        ({"clip": float("nan")}, "clip"),
        ({"clip": float("inf")}, "clip"),
        ({"bits": 1}, "bits"),
        ({"bits": 33}, "bits"),
        ({"max_weight": 0}, "max_weight"),
        ({"max_saturated": 1.5}, "max_saturated"),
    ],
)
def test_impossible_settings(bad, message):
    with pytest.raises(CodecError, match=message):
        FixedPoint(**{"clip": 1.0, **bad})


def test_a_sum_that_no_word_holds():
    assert MAX_SUM_BITS < 63
    with pytest.raises(CodecError, match="needs 63 bits"):
        FixedPoint(clip=1.0, bits=32).layout(dim=1, clients=2**31, summed_weights=False)


def test_zero_total_weight():
    with pytest.raises(CodecError, match="total weight is zero"):
        FixedPoint(clip=1.0).decode(np.zeros(1, dtype=np.int64), total_weight=0)


def test_a_wrong_shape():
    codec = FixedPoint(clip=1.0)
    layout = codec.layout(dim=3, clients=1, summed_weights=False)
    with pytest.raises(CodecError, match=r"shape \(4,\)"):
        codec.encode(np.zeros(4), layout=layout, rng=np.random.default_rng(0))


@given(st.integers(1, 80), st.integers(2, 20), st.booleans())
def test_contributions_round_trip_as_bytes(dim, bits, summed):
    codec = FixedPoint(clip=1.0, bits=bits, max_weight=9)
    contribution = encoded(codec, np.linspace(-1, 1, dim), clients=7, weight=4, summed=summed)
    again = Encoded.from_bytes(contribution.to_bytes())
    assert again.layout == contribution.layout
    for one, two in zip(again.residues, contribution.residues, strict=True):
        assert (one == two).all()
    assert again.to_bytes() == contribution.to_bytes()


def test_every_truncation_and_extension_raises():
    data = encoded(FixedPoint(clip=1.0), np.zeros(3), summed=True).to_bytes()
    for length in range(len(data)):
        with pytest.raises(WireError):
            Encoded.from_bytes(data[:length])
    with pytest.raises(WireError, match="too many"):
        Encoded.from_bytes(data + b"\0")


def test_a_hostile_layout_is_refused_before_anything_is_allocated():
    layout = Layout(segments=(Segment(name="values", length=1, num_bits=17),))
    data = bytearray(Encoded(layout=layout, residues=layout.zeros()).to_bytes())
    at = data.index(b"values") + 6
    huge = bytes(data[:at]) + (1 << 60).to_bytes(8, "big") + bytes(data[at + 8 :])
    with pytest.raises(WireError, match="layout needs"):
        Encoded.from_bytes(huge)
    for num_bits in (0, 65, 255):
        data[at + 8] = num_bits
        with pytest.raises(WireError, match="1…64 allowed"):
            Encoded.from_bytes(bytes(data))


def test_residues_must_fit_the_layout_and_are_read_only():
    layout = FixedPoint(clip=1.0).layout(dim=3, clients=2, summed_weights=False)
    with pytest.raises(CodecError, match="segments"):
        Encoded(layout=layout, residues=())
    for wrong in (np.zeros(4, dtype=np.uint32), np.zeros(3, dtype=np.uint64)):
        with pytest.raises(CodecError, match="does not fit"):
            Encoded(layout=layout, residues=(wrong,))
    contribution = Encoded(layout=layout, residues=layout.zeros())
    with pytest.raises(ValueError, match="read-only"):
        contribution.residues[0][0] = 1
    assert "residues" not in repr(contribution)
