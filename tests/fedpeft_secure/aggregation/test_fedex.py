from collections.abc import Callable

import numpy as np
import pytest

from fedpeft_secure.aggregation import combine
from fedpeft_secure.aggregation.fedex import residual


@pytest.mark.parametrize("ranks", [(2, 2, 2), (1, 3, 2)])
def test_means_and_residual_make_the_exact_sum(
    ranks: tuple[int, ...], make_clients: Callable, mean_product: Callable
) -> None:
    pairs, weights = make_clients(0, 12, 7, ranks)
    b, a = combine("fedex", pairs, weights=weights, rank=2)
    assert np.allclose(b @ a, mean_product(pairs, weights), atol=1e-12)
    assert b.shape[1] == a.shape[0] == min(sum(ranks), 7)


@pytest.mark.parametrize(("d", "n"), [(6, 4), (4, 6), (5, 5)])
def test_the_residual_has_the_orientation_of_the_weights(
    d: int, n: int, make_clients: Callable, mean_product: Callable
) -> None:
    """Known bug: added transposed, right by luck on symmetric differences only; non-square modules tell."""
    pairs, weights = make_clients(1, d, n, (2, 2))
    shares = weights / weights.sum()
    mean_b = sum(share * b for share, (b, _) in zip(shares, pairs, strict=True))
    mean_a = sum(share * a for share, (_, a) in zip(shares, pairs, strict=True))
    product = mean_product(pairs, weights)
    found = residual(mean_b, mean_a, product)
    assert found.shape == (d, n)
    for row, column in np.ndindex(d, n):
        assert found[row, column] == pytest.approx(product[row, column] - mean_b[row] @ mean_a[:, column])
