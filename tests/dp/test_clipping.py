"""Clipping bounds every norm, leaves short vectors alone, and refuses what is not finite."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dp.clipping import clip_factors, clip_l2, per_example_norms, require_clip_norm
from dp.errors import InvalidParameter, NonFiniteUpdate

vectors = arrays.arrays("float32", st.integers(1, 40), elements=st.floats(-(2**50), 2**50, width=32))
norms = st.floats(1e-3, 1e3)


@given(vector=vectors, clip_norm=norms)
def test_never_above_the_bound_and_never_another_direction(vector, clip_norm):
    vector = torch.from_numpy(vector)
    clipped = clip_l2(vector, clip_norm=clip_norm)
    norm = vector.double().norm()
    assert clipped.double().norm() <= clip_norm
    if norm <= clip_norm:
        assert torch.equal(clipped, vector)
    else:
        assert torch.allclose(clipped.double(), vector.double() * clip_norm / norm, rtol=1e-5, atol=1e-5 * clip_norm)


@example(vector=np.array([570.4228], dtype="float32"), clip_norm=570.4227876325971)
@given(vector=vectors, clip_norm=norms)
def test_factors_bound_every_example(vector, clip_norm):
    rows = torch.from_numpy(vector)[:, None]
    factors = clip_factors(per_example_norms([rows]), clip_norm=clip_norm)
    assert ((factors[:, None] * rows).double().abs() <= clip_norm).all()
    assert (factors[rows[:, 0].abs().double() < clip_norm * 0.999] == 1).all()


def test_norms_go_over_all_parameters_in_more_than_bf16():
    rows = [torch.full((2, 3, 4), 1.0 + 2**-7, dtype=torch.bfloat16), torch.full((2, 5), 2.0)]
    expected = (12 * (1 + 2**-7) ** 2 + 20) ** 0.5
    assert torch.allclose(per_example_norms(rows), torch.full((2,), expected, dtype=torch.float64), rtol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_or_left_out(bad):
    with pytest.raises(NonFiniteUpdate):
        clip_l2(torch.tensor([1.0, bad]), clip_norm=1.0)
    rows = torch.tensor([[3.0, 4.0], [bad, 0.0]])
    assert clip_factors(per_example_norms([rows]), clip_norm=1.0).tolist() == [pytest.approx(0.2, rel=1e-5), 0.0]


def test_arguments_are_not_changed_and_bounds_are_checked():
    vector = torch.tensor([3.0, 4.0])
    clip_l2(vector, clip_norm=1.0).zero_()
    clip_l2(vector, clip_norm=10.0).zero_()
    assert vector.tolist() == [3.0, 4.0]
    for bad in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InvalidParameter):
            clip_l2(vector, clip_norm=bad)


def test_gradients_too_small_to_square_in_fp32_are_clipped_all_the_same():
    gradient = torch.full((1, 3), 1e-26)
    assert float(per_example_norms([gradient])) == pytest.approx(3**0.5 * 1e-26)


@pytest.mark.parametrize("clip_norm", [1e-30, 9e-7])
def test_a_clip_norm_that_fp32_cannot_resolve_is_refused(clip_norm):
    with pytest.raises(InvalidParameter, match="at least 1e-06"):
        require_clip_norm(clip_norm)
