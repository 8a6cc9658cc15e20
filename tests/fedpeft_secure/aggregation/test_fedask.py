from collections.abc import Callable

import numpy as np
import pytest

from fedpeft_secure.aggregation import Reads, combine, combine_module
from fedpeft_secure.aggregation.factors import ModulePlan
from fedpeft_secure.aggregation.fedask import FedASK, _basis


def test_two_sketches_give_the_papers_answer(make_clients: Callable, mean_product: Callable) -> None:
    """Y, Q, P and the SVD of Q Pᵀ, spelled out on the dense mean product."""
    pairs, weights = make_clients(0, 30, 26, (3, 5, 4, 6, 2))
    product = mean_product(pairs, weights)
    public = ModulePlan(d=30, n=26, ranks=(3, 5, 4, 6, 2), rank=3, seed=7)
    assert FedASK().columns(public) == 9
    basis = np.linalg.qr(product @ public.test_matrix("fedask", rows=26, columns=9))[0]
    left, values, right = np.linalg.svd(basis @ (product.T @ basis).T)
    b, a = combine("fedask", pairs, weights=weights, rank=3, seed=7)
    assert np.allclose(b @ a, (left[:, :3] * values[:3]) @ right[:3], atol=1e-10)
    assert FedASK().reads is Reads.TWO_SUMS


def test_exact_where_the_sketch_holds_the_sum(make_clients: Callable, mean_product: Callable) -> None:
    pairs, weights = make_clients(1, 30, 26, (1, 2, 2))
    product = mean_product(pairs, weights)
    for rank in (2, 5):
        b, a = combine("fedask", pairs, weights=weights, rank=rank)
        best = np.linalg.svd(product, compute_uv=False)[rank:]
        assert np.linalg.norm(product - b @ a) == pytest.approx(np.sqrt((best**2).sum()), abs=1e-10)


def test_two_sums_of_twice_the_rank(make_clients: Callable) -> None:
    pairs, weights = make_clients(2, 40, 30, (6,) * 4)
    assert combine_module("fedask", pairs, weights=weights, rank=8).values_sent == (40 * 16, 30 * 16)


def test_the_basis_has_one_sign_whatever_library_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients with bases of opposite signs would take each other's contributions out of the second sum."""
    first, qr = np.random.default_rng(0).normal(size=(12, 4)), np.linalg.qr
    here = _basis(((first,),))
    monkeypatch.setattr(np.linalg, "qr", lambda matrix: tuple(-part for part in qr(matrix)))
    assert _basis(((first,),)) == pytest.approx(here, abs=1e-12)
    assert np.diag(here.T @ first).min() > 0
