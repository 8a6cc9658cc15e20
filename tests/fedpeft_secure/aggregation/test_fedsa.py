from collections.abc import Callable

import numpy as np

from fedpeft_secure.aggregation.factors import Factors
from fedpeft_secure.aggregation.fedsa import FedSA


def test_every_client_keeps_its_b_beside_the_mean_of_a(make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 6, 5, (2, 2, 2))
    strategy, shares = FedSA(), weights / weights.sum()
    clients = [Factors(b=b, a=a) for b, a in pairs]
    mean = sum(share * strategy.encode_factors(one)[0] for share, one in zip(shares, clients, strict=True))
    for client in clients:
        next_factors = strategy.apply_sum((mean,), client)
        assert np.array_equal(next_factors.b, client.b)
        assert np.allclose(next_factors.a, sum(s * a for s, (_, a) in zip(shares, pairs, strict=True)))
        assert len(strategy.encode_factors(client)) == 1  # B never leaves
