from collections.abc import Callable

import numpy as np
import pytest

from fedpeft_secure.aggregation import Reads, combine
from fedpeft_secure.aggregation.flexlora import FlexLoRA


def test_the_best_answer_of_the_rank(make_clients: Callable, mean_product: Callable) -> None:
    pairs, weights = make_clients(0, 9, 7, (1, 2, 3))
    left, values, right = np.linalg.svd(mean_product(pairs, weights), full_matrices=False)
    b, a = combine("flexlora", pairs, weights=weights, rank=3)
    assert np.allclose(b @ a, (left[:, :3] * values[:3]) @ right[:3], atol=1e-12)
    assert FlexLoRA().reads is Reads.SUM


def test_a_device_of_smaller_rank_takes_the_first_slots(make_clients: Callable) -> None:
    pairs, weights = make_clients(1, 9, 7, (4, 2))
    b, a = combine("flexlora", pairs, weights=weights, rank=4)
    small_b, small_a = combine("flexlora", pairs, weights=weights, rank=2)
    assert np.allclose(b[:, :2] @ a[:2], small_b @ small_a, atol=1e-12)


@pytest.mark.parametrize("clients", [2, 30])
def test_clients_that_agree_or_have_not_moved(clients: int, make_clients: Callable) -> None:
    """Known bug: the SVD of nearly equal or zero products is ill-conditioned."""
    (pair,), _ = make_clients(2, 12, 8, (3,))
    b, a = combine("flexlora", [pair] * clients, weights=[0.1] * clients, rank=5)
    assert np.allclose(b @ a, pair[0] @ pair[1], atol=1e-12)
    still = [(np.zeros((12, 3)), pair[1])] * clients
    b, a = combine("flexlora", still, weights=[1] * clients, rank=5)
    assert (b == 0).all()
    assert np.isfinite(a).all()
