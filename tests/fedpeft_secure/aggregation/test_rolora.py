from collections.abc import Callable

import numpy as np

from fedpeft_secure.adapters import Role
from fedpeft_secure.aggregation import Reads
from fedpeft_secure.aggregation.factors import Factors
from fedpeft_secure.aggregation.rolora import RoLoRA


def test_both_turns_are_exact(make_clients: Callable, mean_product: Callable) -> None:
    pairs, weights = make_clients(0, 6, 5, (2, 2, 2))
    shares = weights / weights.sum()
    shared, strategy = Factors(b=pairs[0][0], a=pairs[0][1]), RoLoRA()
    for turn in (Role.LORA_B, Role.LORA_A, Role.LORA_B):
        assert strategy.trained is turn
        own = [Factors(b=b, a=shared.a) if turn is Role.LORA_B else Factors(b=shared.b, a=a) for b, a in pairs]
        mean = sum(share * strategy.encode_factors(one)[0] for share, one in zip(shares, own, strict=True))
        want = mean_product([(one.b, one.a) for one in own], weights)
        shared, strategy = strategy.apply_sum((mean,), shared)
        assert np.allclose(shared.product(), want, atol=1e-12)
    assert strategy.reads is Reads.SUM
