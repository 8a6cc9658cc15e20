from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import secagg
from secagg.he_digits import DigitCode

NAMES = tuple(f"c{i}" for i in range(5))


def plan_of(bits=16, *, dim=6, max_weight=None, clients=NAMES):
    protocol = secagg.PlainSum(codec=secagg.FixedPoint(clip=1.0, bits=bits, max_weight=max_weight))
    return protocol.plan(clients=clients, dim=dim, summed_weights=max_weight is not None)


@given(st.integers(2, 20), st.integers(1, 100_000), st.integers(1, 5), st.integers(0, 2**32))
def test_sums_of_digits_are_sums_of_residues(bits, max_weight, contributors, seed):
    plan, rng = plan_of(bits, max_weight=max_weight), np.random.default_rng(seed)
    code = DigitCode.of(plan)
    total, digits = plan.layout.zeros(), np.zeros(code.count, dtype=np.int64)
    for name in NAMES[:contributors]:
        weight = int(rng.integers(1, max_weight + 1))
        encoded = plan.encode(name, rng.uniform(-1, 1, 6), weight=weight, rng=rng)
        for array, residues in zip(total, encoded.residues, strict=True):
            np.add(array, residues, out=array)
        one = code.encode(encoded.residues)
        assert one.min() >= 0
        assert one.max() <= code.largest
        digits += one
    plan.layout.reduce(total)
    assert digits.max() < 1 << code.digit_bits
    for expected, found in zip(total, code.decode(digits, contributors=contributors), strict=True):
        assert (expected == found).all()
        assert expected.dtype == found.dtype


def test_moduli_that_wrap_are_carried_whole():
    """A codec whose sums are meant to wrap fills its modulus: digits then hold any residue."""
    plan = plan_of(8)
    layout = secagg.Layout(segments=(replace(plan.layout.segments[0], num_bits=8),))
    code = DigitCode(layout=layout, clients=5, offset=0, span=255, limb_bits=8)
    residues = (np.arange(250, 256, dtype=np.uint32),)
    sums = code.encode(residues) * 5
    (found,) = code.decode(sums, contributors=5)
    assert (found == residues[0] * 5 % 256).all()


@pytest.mark.parametrize("change", [-1, 1])
def test_what_no_contributors_reach_is_not_released(change):
    code = DigitCode.of(plan_of(max_weight=9))
    top = np.array([3 * code.span] * 6 + [3 * ((1 << code.limb_bits) - 1)] * (code.count - 6))
    assert len(code.decode(top, contributors=3)) == 2
    for position in (0, 6):
        wrong = top.copy() if change > 0 else np.zeros_like(top)
        wrong[position] += change
        with pytest.raises(secagg.RefusedError, match="not a sum of 3 contributions; nothing is released"):
            code.decode(wrong, contributors=3)
