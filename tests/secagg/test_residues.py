from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import secagg
from secagg.codec import Encoded
from secagg.errors import CodecError, PlanError, RoundFailedError
from secagg.residues import ModularIntegers

NAMES = tuple(f"client-{i}" for i in range(8))


def wrapped(values, bits):
    half = 1 << (bits - 1)
    return (np.asarray(values) + half) % (1 << bits) - half


def protocols(bits):
    codec = ModularIntegers(bits=bits)
    return [secagg.PlainSum(codec=codec), secagg.MaskedSum(codec=codec)]


@pytest.mark.parametrize("drop", [{}, {"upload": {"client-3"}}, {"unmask": {"client-5"}}])
@pytest.mark.parametrize("bits", [2, 16, 33, 62])
def test_the_sum_is_exact_modulo_two_to_the_bits_and_masks_change_nothing(bits, drop):
    rng, half = np.random.default_rng(bits), 1 << (bits - 1)
    vectors = {name: rng.integers(-half, half, 40) for name in NAMES}
    plain, masked = (secagg.simulate(protocol, vectors, drop=drop, seed=1) for protocol in protocols(bits))
    for result in (plain, masked):
        total = sum(vectors[name].astype(object) for name in result.survivors)
        assert (result.integers == wrapped(total, bits)).all()
        assert (result.mean == result.integers / len(result.survivors)).all()
        assert result.total_weight == len(result.survivors)
    assert "client-3" not in masked.survivors or not drop.get("upload")


@given(st.integers(2, 62), st.lists(st.integers(-(1 << 62), (1 << 62) - 1), min_size=1, max_size=9))
def test_residues_come_back_wrapped(bits, values):
    codec, vector = ModularIntegers(bits=bits), np.array(values)
    layout = codec.layout(dim=len(values), clients=5, summed_weights=False)
    contribution = codec.encode(vector, layout=layout, rng=np.random.default_rng(0))
    assert Encoded.from_bytes(contribution.to_bytes()).residues[0].tolist() == contribution.residues[0].tolist()
    centred = codec.centred(contribution.residues[0], layout=layout)
    assert (centred == wrapped(np.array(values, dtype=object), bits)).all()


def test_no_value_is_refused_and_none_saturates():
    largest = np.iinfo(np.int64)
    vectors = {name: np.array([largest.min, largest.max, 0]) for name in NAMES[:3]}
    assert secagg.simulate(secagg.PlainSum(codec=ModularIntegers(bits=8)), vectors).integers.tolist() == [0, -3, 0]


def test_the_layout_does_not_grow_with_the_cohort():
    codec = ModularIntegers(bits=16)
    small, large = (codec.layout(dim=5, clients=clients, summed_weights=False) for clients in (2, 100_000))
    assert small == large
    assert small.segments[0].num_bits == 16


@pytest.mark.parametrize("bits", [1, 63])
def test_bits_out_of_bounds(bits):
    with pytest.raises(CodecError, match="2…62"):
        ModularIntegers(bits=bits)


def test_what_is_not_one_integer_vector_of_weight_one_is_refused():
    codec, rng = ModularIntegers(bits=8), np.random.default_rng(0)
    layout = codec.layout(dim=2, clients=3, summed_weights=False)
    for vector in (np.array([0.5, 1.0]), np.array([1, 2], dtype=np.uint64), np.array([True, False])):
        with pytest.raises(CodecError, match="signed integers"):
            codec.encode(vector, layout=layout, rng=rng)
    with pytest.raises(CodecError, match="shape"):
        codec.encode(np.array([1]), layout=layout, rng=rng)
    for weight in (2, 0, True, 1.0):
        with pytest.raises(CodecError, match="weight"):
            codec.encode(np.array([1, 2]), layout=layout, weight=weight, rng=rng)
    with pytest.raises(CodecError, match="nobody"):
        codec.decode(np.zeros(2, dtype=np.int64), total_weight=0)


def test_weights_are_public_and_one():
    plain = secagg.PlainSum(codec=ModularIntegers())
    with pytest.raises(PlanError, match="weights"):
        plain.plan(clients=("a", "b"), dim=2, weights=(1, 2))
    with pytest.raises(CodecError, match="no weights"):
        _ = plain.plan(clients=("a", "b"), dim=2, summed_weights=True).layout


def test_plans_of_different_codecs_have_different_digests():
    plan = secagg.PlainSum(codec=ModularIntegers(bits=16)).plan(clients=("a", "b"), dim=2)
    others = [
        replace(plan, codec=ModularIntegers(bits=17)),
        replace(plan, codec=secagg.FixedPoint(clip=1.0, bits=16, max_weight=1, max_saturated=0.0)),
    ]
    assert plan.digest() not in {other.digest() for other in others}


def test_too_few_survivors_still_fail():
    vectors = {name: np.ones(3, dtype=np.int64) for name in NAMES}
    with pytest.raises(RoundFailedError):
        secagg.simulate(protocols(16)[1], vectors, drop={"upload": set(NAMES[:6])}, seed=1)
