"""Rows and factors of the same gradients agree, also where terms cancel, vanish or overflow."""

import pytest
import torch

from dp.gradients import Factors, Rows

ALL = torch.ones(6, dtype=torch.bool)


def factors(*, tokens=5, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Factors(
        inputs=scale * torch.randn(6, tokens, 7, generator=generator),
        backprops=torch.randn(6, tokens, 4, generator=generator),
    )


@pytest.mark.parametrize("tokens", [1, 5])
def test_factors_are_rows_never_written_out(tokens):
    ghost = factors(tokens=tokens)
    rows = Rows(ghost.rows())
    weights = torch.rand(6)
    assert ghost.shape == rows.shape == (6, 4, 7)
    assert torch.allclose(rows.values[2], ghost.backprops[2].T @ ghost.inputs[2], atol=1e-5)
    assert torch.allclose(ghost.squared_norms(), rows.squared_norms(), rtol=1e-4)
    assert torch.allclose(ghost.weighted_sum(weights, ALL), rows.weighted_sum(weights, ALL), atol=1e-5)
    assert torch.allclose(rows.weighted_sum(weights, ALL), torch.einsum("b,bij->ij", weights, rows.values), atol=1e-5)


def test_norms_are_in_double_precision_where_terms_cancel():
    """Two tokens that nearly undo each other: fp32 Gram matrices would lose what is left."""
    ghost = factors(tokens=1)
    left = 1e-4
    cancelling = Factors(
        inputs=torch.cat([ghost.inputs, ghost.inputs], dim=1),
        backprops=torch.cat([ghost.backprops, -ghost.backprops * (1 - left)], dim=1),
    )
    exact = (
        torch.einsum("blo,bli->boi", cancelling.backprops.double(), cancelling.inputs.double()).flatten(1).norm(dim=1)
    )
    found = cancelling.squared_norms().sqrt()
    single = torch.bmm(cancelling.inputs, cancelling.inputs.transpose(1, 2)) * torch.bmm(
        cancelling.backprops, cancelling.backprops.transpose(1, 2)
    )
    assert ((single.sum(dim=(1, 2)).double().clamp(min=0).sqrt() / exact - 1).abs() > 0.03).any()
    # Rounded up by what fp32 may add to the sum, here a few per cent of nearly nothing: never down.
    assert (found >= exact).all()
    assert (found <= exact * 1.05).all()


def test_tiny_gradients_have_a_norm():
    ghost = factors(scale=1e-25)
    assert (ghost.squared_norms() > 0).all()
    assert (Rows(ghost.rows()).squared_norms() > 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows_in_its_own_norm_and_stays_out_of_sums(bad):
    ghost = factors()
    ghost.inputs[3, 2, 1] = bad
    kept = torch.arange(6) != 3
    for gradients in (ghost, Rows(ghost.rows())):
        assert torch.equal(torch.isfinite(gradients.squared_norms()), kept)
        others = gradients.rows()[kept].sum(dim=0)
        assert torch.allclose(gradients.weighted_sum(torch.ones(6), kept), others, atol=1e-5)


def test_an_enormous_example_is_no_more_than_clipped():
    ghost = factors(scale=1e30)
    assert torch.isfinite(ghost.squared_norms()).all()


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_missing_use_shows_in_the_gap(share):
    ghost = factors(tokens=8)
    whole = ghost.rows().sum(dim=0)
    missing = share * whole.norm() * torch.nn.functional.normalize(torch.randn(28), dim=0).reshape(4, 7)
    for gradients in (ghost, Rows(ghost.rows())):
        gap, scale = gradients.gap_to(whole + missing)
        assert scale >= whole.norm()
        assert float(gap) == pytest.approx(share * float(whole.norm()), rel=0.7, abs=1e-4)


def test_gradients_stay_out_of_reprs():
    assert "tensor" not in repr(factors())
    assert "tensor" not in repr(Rows(torch.ones(2, 2)))
