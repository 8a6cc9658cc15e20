from collections.abc import Callable

import numpy as np
import pytest

from fedpeft_secure.aggregation import Reads, combine
from fedpeft_secure.aggregation.lora_fair import LoRAFair


@pytest.mark.parametrize(("d", "n", "rank"), [(9, 7, 3), (5, 11, 2), (4, 4, 4)])
def test_the_corrected_b_solves_the_least_squares_problem(
    d: int, n: int, rank: int, make_clients: Callable, mean_product: Callable
) -> None:
    pairs, weights = make_clients(0, d, n, (rank,) * 4)
    b, a = combine("lora_fair", pairs, weights=weights, rank=rank)
    mean_a = sum(share * pair[1] for share, pair in zip(weights / weights.sum(), pairs, strict=True))
    product = mean_product(pairs, weights)
    solution = np.linalg.lstsq(mean_a.T, product.T, rcond=None)[0].T
    assert np.allclose(a, mean_a)
    assert np.allclose(b, solution, atol=1e-9)
    assert LoRAFair().reads is Reads.TWO_SUMS


def test_it_is_nearer_to_the_mean_product_than_the_product_of_means(
    make_clients: Callable, mean_product: Callable
) -> None:
    pairs, weights = make_clients(1, 9, 7, (3, 3, 3))
    product = mean_product(pairs, weights)
    fair, mean = (combine(name, pairs, weights=weights, rank=3) for name in ("lora_fair", "fedit"))
    assert np.linalg.norm(product - fair[0] @ fair[1]) < np.linalg.norm(product - mean[0] @ mean[1])


def test_where_the_mean_of_a_has_lost_a_rank_b_is_corrected_no_more_than_needed(make_clients: Callable) -> None:
    """One client holds −A of the other: Ā = 0, and the mean of B stays as it is."""
    ((b, a), (other, _)), _ = make_clients(2, 6, 5, (2, 2))
    found, mean_a = combine("lora_fair", [(b, a), (other, -a)], weights=[1, 1], rank=2)
    assert (mean_a == 0).all()
    assert np.allclose(found, (b + other) / 2)
