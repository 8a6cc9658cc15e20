import numpy as np
import pytest

import secagg
from secagg.session import decode_sum

NAMES = ("a", "b", "c")


def plan(**changes):
    protocol = secagg.PlainSum(codec=secagg.FixedPoint(clip=1.0, bits=8, max_weight=changes.pop("max_weight", None)))
    return protocol.plan(clients=NAMES, dim=2, **changes)


def residues(*values, weight=None):
    values = (np.array(values) % 1024).astype(np.uint32)
    return (values,) if weight is None else (values, np.array([weight], dtype=np.uint32))


def test_results_are_read_only_and_typed():
    result = decode_sum(plan(), residues(254, -127), ("a", "b"))
    assert result.mean.tolist() == [1.0, -0.5]
    assert result.integers.tolist() == [254, -127]
    assert (result.mean.dtype, result.integers.dtype) == (np.float64, np.int64)
    for array in (result.mean, result.integers):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_sum_that_the_survivors_cannot_reach():
    decode_sum(plan(), residues(254, -254), ("a", "b"))
    for value in (255, -255):
        with pytest.raises(secagg.RoundFailedError, match="above 2 survivors × 127"):
            decode_sum(plan(), residues(value, 0), ("a", "b"))


@pytest.mark.parametrize(("weight", "allowed"), [(1, False), (2, True), (10, True), (11, False)])
def test_an_impossible_total_weight(weight, allowed):
    planned = plan(summed_weights=True, max_weight=5)
    if allowed:
        assert decode_sum(planned, residues(1, 1, weight=weight), ("a", "b")).total_weight == weight
    else:
        with pytest.raises(secagg.RoundFailedError, match="impossible for 2 survivors"):
            decode_sum(planned, residues(1, 1, weight=weight), ("a", "b"))


def test_the_norm():
    for norm, allowed in ((1.0, True), (0.3, False)):
        planned = plan(max_norm=norm)
        if allowed:
            decode_sum(planned, residues(100, 100), ("a", "b"))
        else:
            with pytest.raises(secagg.RoundFailedError, match="norm"):
                decode_sum(planned, residues(100, 100), ("a", "b"))


def test_public_weights_of_the_survivors():
    assert decode_sum(plan(weights=(1, 2, 4)), residues(1, 1), ("a", "c")).total_weight == 5
