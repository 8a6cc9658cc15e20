import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scipy import stats

from secagg.codec import FixedPoint, Segment
from secagg.crypto import (
    Agreement,
    digest,
    low_order,
    pair_key,
    seal,
    sealing_key,
    seeded_entropy,
    sign,
    unseal,
    verified,
    x25519_public,
)
from secagg.errors import RefusedError
from secagg.masks import PAIR_MASK, SELF_MASK, Masker, mask_label

KEY = bytes(range(32))


def test_digests_separate_labels_parts_and_their_borders():
    values = [
        digest("a"),
        digest("b"),
        digest("a", b""),
        digest("a", b"xy"),
        digest("a", b"x", b"y"),
        digest("ax", b"y"),
    ]
    assert len(set(values)) == len(values)


def test_agreement_is_mutual_and_refuses_low_order():
    one, two = bytes(range(32)), bytes(range(32, 64))
    assert Agreement(one).with_public(x25519_public(two)) == Agreement(two).with_public(x25519_public(one))
    for point in (bytes(32), b"\x01" + bytes(31)):
        with pytest.raises(RefusedError, match="invalid"):
            Agreement(one).with_public(point)


def test_every_point_that_x25519_refuses_is_known_to_be_of_low_order():
    field = 2**255 - 19
    for point in (0, 1, field - 1, field, field + 1):
        for high_bit in (0, 1 << 255):
            data = (point | high_bit).to_bytes(32, "little")
            assert low_order(data)
            with pytest.raises(RefusedError):
                Agreement(KEY).with_public(data)
    for point in (
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    ):
        assert low_order(point.to_bytes(32, "little"))
        with pytest.raises(RefusedError):
            Agreement(KEY).with_public(point.to_bytes(32, "little"))
    assert not low_order(x25519_public(KEY))


def test_sealing_binds_key_context_and_direction():
    sealed = seal(KEY, b"share", context=b"session")
    assert unseal(KEY, sealed, context=b"session") == b"share"
    assert unseal(KEY, sealed, context=b"other session") is None
    assert unseal(bytes(32), sealed, context=b"session") is None
    assert unseal(KEY, sealed[:-1] + bytes([sealed[-1] ^ 1]), context=b"session") is None
    there, back = (sealing_key(KEY, session=b"s", sender=a, recipient=b) for a, b in (("x", "y"), ("y", "x")))
    assert there != back
    assert sealing_key(KEY, session=b"t", sender="x", recipient="y") != there


def test_pair_keys_name_session_and_both_clients():
    keys = {
        pair_key(KEY, session=s, first=a, second=b)
        for s, a, b in ((b"s", "x", "y"), (b"t", "x", "y"), (b"s", "x", "z"), (b"s", "w", "y"))
    }
    assert len(keys) == 4


def test_signatures():
    public = Ed25519PrivateKey.from_private_bytes(KEY).public_key().public_bytes_raw()
    assert verified(public, sign(KEY, b"m"), b"m")
    assert not verified(public, sign(KEY, b"m"), b"n")
    assert not verified(public, b"short", b"m")
    assert not verified(b"\xff" * 32, sign(KEY, b"m"), b"m")


def test_seeded_entropy_is_reproducible_and_does_not_repeat():
    one, two = seeded_entropy(b"s"), seeded_entropy(b"s")
    first = one(100)
    assert two(60) + two(40) == first
    assert one(100) != first
    assert seeded_entropy(b"t")(100) != first


# --- masks ------------------------------------------------------------------------------------------------------------


def stream(num_bits, length, *, key=KEY, session=b"s", purpose=PAIR_MASK, clients=1):
    layout = FixedPoint(clip=1.0, bits=num_bits).layout(dim=length, clients=clients, summed_weights=False)
    assert layout.segments[0].num_bits == num_bits
    target = layout.zeros()
    Masker(layout, session=session).add(target, key=key, purpose=purpose)
    layout.reduce(target)
    return target[0]


def uniform(values, num_residues):
    """p-value of the chi-squared test that `values` are uniform on 0…num_residues-1."""
    return stats.chisquare(np.bincount(values, minlength=num_residues)).pvalue


def test_masks_are_uniform_and_the_test_would_notice_a_missing_top_residue():
    values = np.concatenate([stream(8, 1 << 17, session=bytes([i])) for i in range(2)]).astype(np.int64)
    assert uniform(values, 256) > 1e-6
    broken = np.random.default_rng(0).integers(0, 255, len(values))  # a generator that never emits the top residue
    assert uniform(broken, 256) < 1e-6


def test_adding_and_subtracting_cancel_on_both_word_sizes():
    for summed, bits in ((True, 16), (True, 30)):
        codec = FixedPoint(clip=1.0, bits=bits, max_weight=1 << 31)
        layout = codec.layout(dim=70_001, clients=50, summed_weights=summed)
        target = layout.zeros()
        masker = Masker(layout, session=b"s")
        masker.add(target, key=KEY, purpose=SELF_MASK)
        assert all(array.any() for array in target)
        masker.subtract(target, key=KEY, purpose=SELF_MASK)
        assert not any(array.any() for array in target)


def test_long_streams_do_not_repeat_between_chunks():
    values = stream(32, 100_000)
    assert len(np.unique(values[:32768])) > 32_700
    assert not (values[:32768] == values[32768:65536]).mean() > 0.001


def test_streams_depend_on_everything_they_should():
    base = stream(16, 64)
    others = [
        stream(16, 64, key=bytes(32)),
        stream(16, 64, session=b"t"),
        stream(16, 64, purpose=SELF_MASK),
        stream(17, 64),
        stream(16, 65)[:64],
    ]
    assert all((base != other.astype(base.dtype)).mean() > 0.9 for other in others)
    one = Segment(name="values", length=64, num_bits=16)
    two = Segment(name="weight", length=64, num_bits=16)
    assert mask_label(PAIR_MASK, segment=one, session=b"s") != mask_label(PAIR_MASK, segment=two, session=b"s")
