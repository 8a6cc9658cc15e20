from collections.abc import Callable

import numpy as np

from fedpeft_secure.aggregation.factors import Factors
from fedpeft_secure.aggregation.fed_sb import FedSB


def test_the_mean_of_cores_is_exact(make_clients: Callable) -> None:
    ((b, a),), _ = make_clients(0, 6, 5, (2,))
    fixed, strategy, rng = Factors(b=b, a=a), FedSB(), np.random.default_rng(1)
    cores, shares = rng.standard_normal((3, 2, 2)), np.array([0.5, 0.2, 0.3])
    (sent,) = (
        sum(share * block for share, block in zip(shares, blocks, strict=True))
        for blocks in zip(*(strategy.encode_core(core) for core in cores), strict=True)
    )
    want = sum(share * (b @ core @ a) for share, core in zip(shares, cores, strict=True))
    assert sent.size == 4
    assert np.allclose(strategy.apply_sum((sent,), fixed).product(), want, atol=1e-12)
