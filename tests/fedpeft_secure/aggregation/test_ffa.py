from collections.abc import Callable

import numpy as np
import pytest

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Role, flatten
from fedpeft_secure.aggregation import Reads, combine
from fedpeft_secure.aggregation.ffa import FFA
from fedpeft_secure.aggregation.server_optimizers import FedAvg


def test_a_is_neither_trained_nor_sent(spec: AdapterSpec, change: AdapterState) -> None:
    trained = FFA().trainable(spec)
    assert trained.names == ("head.weight", "layer.0.lora_B", "layer.1.lora_B")
    sent = FFA().encode({name: change[name] for name in trained.names}, spec)
    assert (sent == flatten(change, trained)).all()
    assert FFA().reads is Reads.SUM


def test_a_stays_and_the_rest_moves(spec: AdapterSpec, state: AdapterState) -> None:
    trained = FFA().trainable(spec)
    new, _ = FFA().apply(state, np.ones(trained.size), spec, FedAvg(learning_rate=0.25))
    for entry in spec.entries:
        moved = 0.0 if entry.role is Role.LORA_A else 0.25
        assert np.allclose(new[entry.name], state[entry.name] + moved)


def test_the_mean_of_products_is_exact(spec: AdapterSpec, state: AdapterState) -> None:
    """ΔW = (Σ p_k B_k) A for any weights: the reason for freezing A (Sun et al. 2024, section 4)."""
    rng = np.random.default_rng(2)
    trained = FFA().trainable(spec)
    weights = np.array([0.2, 0.5, 0.3])
    clients = [
        {e.name: state[e.name] + rng.standard_normal(e.shape).astype(np.float32) for e in trained.entries}
        for _ in weights
    ]
    mean = sum(
        w * FFA().encode({name: client[name] - state[name] for name in trained.names}, spec)
        for w, client in zip(weights, clients, strict=True)
    )
    new, _ = FFA().apply(state, mean, spec, FedAvg(learning_rate=1.0))
    for module in spec.modules:
        a, b = spec.name_of(module, Role.LORA_A), spec.name_of(module, Role.LORA_B)
        exact = sum(w * client[b] @ state[a] for w, client in zip(weights, clients, strict=True))
        assert np.allclose(new[b] @ new[a], exact, atol=1e-5)


@pytest.mark.parametrize("ranks", [(3, 3, 3), (1, 3, 2)])
def test_on_factors_with_one_a_it_is_exact(
    ranks: tuple[int, ...], make_clients: Callable, mean_product: Callable
) -> None:
    pairs, weights = make_clients(0, 6, 9, ranks)
    whole = pairs[1][1]
    shared = [(b, whole[: b.shape[1]]) for b, _ in pairs]
    b, a = combine("ffa", shared, weights=weights, rank=3)
    assert np.array_equal(a, whole)
    assert np.allclose(b @ a, mean_product(shared, weights), atol=1e-12)
