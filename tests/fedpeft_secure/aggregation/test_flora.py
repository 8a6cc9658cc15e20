from collections.abc import Callable

import numpy as np
import pytest

from fedpeft_secure.aggregation import Reads, combine
from fedpeft_secure.aggregation.one_module import STACKING


def test_stacked_factors_multiply_to_the_exact_sum(make_clients: Callable, mean_product: Callable) -> None:
    pairs, weights = make_clients(0, 6, 5, (1, 3, 2, 4))
    b, a = combine("flora", pairs, weights=weights, rank=2)
    assert (b.shape, a.shape) == ((6, 10), (10, 5))
    assert np.allclose(b @ a, mean_product(pairs, weights), atol=1e-12)


def test_every_clients_factors_are_in_clear_in_the_answer(make_clients: Callable) -> None:
    """Why it reads individual updates."""
    pairs, weights = make_clients(1, 6, 5, (1, 3, 2))
    b, a = combine("flora", pairs, weights=weights, rank=2)
    assert np.array_equal(b[:, 1:4], pairs[1][0])
    assert np.allclose(a[1:4], weights[1] / weights.sum() * pairs[1][1])
    assert STACKING.reads is Reads.INDIVIDUAL


@pytest.mark.parametrize("secure_sum", ["plain", "masked"])
def test_it_is_refused_under_any_secure_sum(secure_sum: str, make_clients: Callable) -> None:
    pairs, weights = make_clients(2, 6, 5, (1, 3, 2))
    with pytest.raises(ValueError, match=r"^flora: reads every client's own factors, which a secure sum hides; leave"):
        combine("flora", pairs, weights=weights, rank=2, secure_sum=secure_sum)
