from collections.abc import Callable

import numpy as np
import pytest

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role, flatten
from fedpeft_secure.aggregation import Reads, combine
from fedpeft_secure.aggregation.fedit import FedIT, step_along
from fedpeft_secure.aggregation.server_optimizers import FedAdamW, FedAvg
from fedpeft_secure.errors import FedPeftError


def test_everything_is_trained_and_sent(spec: AdapterSpec, change: AdapterState) -> None:
    assert FedIT().trainable(spec) == spec
    sent = FedIT().encode(change.values, spec)
    assert sent.shape == (spec.size,)
    assert (sent == flatten(change, spec)).all()


def test_it_reads_a_sum() -> None:
    assert FedIT().reads is Reads.SUM
    assert FedIT().name == "fedit"


def test_at_rate_one_the_new_adapter_is_the_mean_of_the_clients(spec: AdapterSpec, state: AdapterState) -> None:
    rng = np.random.default_rng(3)
    clients = [AdapterState({e.name: rng.standard_normal(e.shape) for e in spec.entries}) for _ in range(4)]
    weights = np.array([1, 2, 3, 4]) / 10
    deltas = [{name: client[name] - state[name] for name in spec.names} for client in clients]
    mean = sum(w * FedIT().encode(delta, spec).astype(np.float64) for w, delta in zip(weights, deltas, strict=True))
    new, _ = FedIT().apply(state, mean, spec, FedAvg(learning_rate=1.0))
    for name in spec.names:
        expected = sum(w * client[name] for w, client in zip(weights, clients, strict=True))
        assert np.allclose(new[name], expected, atol=1e-6)


def test_the_product_of_means_is_not_the_mean_of_products(spec: AdapterSpec) -> None:
    """What the docstring warns of, so that nobody takes FedIT for exact."""
    rng = np.random.default_rng(3)
    pairs = [(rng.standard_normal((6, 2)), rng.standard_normal((2, 5))) for _ in range(2)]
    of_means = np.mean([b for b, _ in pairs], axis=0) @ np.mean([a for _, a in pairs], axis=0)
    of_products = np.mean([b @ a for b, a in pairs], axis=0)
    assert np.linalg.norm(of_means - of_products) > 0.1 * np.linalg.norm(of_products)


def test_the_optimiser_goes_on(spec: AdapterSpec, state: AdapterState, change: AdapterState) -> None:
    optimizer = FedAdamW(learning_rate=0.1)
    _, after = FedIT().apply(state, flatten(change, spec), spec, optimizer)
    assert optimizer.steps == 0
    assert after.arrays()["steps"].tolist() == [1]


def test_a_step_along_a_part_leaves_the_rest(spec: AdapterSpec, state: AdapterState) -> None:
    head = spec.only((Role.HEAD,))
    new, _ = step_along(state, np.ones(head.size), head, FedAvg(learning_rate=0.5))
    assert np.allclose(new["head.weight"], state["head.weight"] + 0.5)
    assert all((new[name] == state[name]).all() for name in spec.names if name != "head.weight")


def test_a_mean_of_another_length_is_refused(spec: AdapterSpec, state: AdapterState) -> None:
    with pytest.raises((FedPeftError, ValueError)):
        FedIT().apply(state, np.ones(spec.size + 1), spec, FedAvg(learning_rate=1.0))


def test_a_change_without_one_tensor_is_refused(spec: AdapterSpec, change: AdapterState) -> None:
    partial = {name: value for name, value in change.values.items() if name != "head.weight"}
    with pytest.raises(KeyError, match=r"head\.weight"):
        FedIT().encode(partial, spec)


def test_a_structure_without_factors(state: AdapterState) -> None:
    only_head = AdapterSpec(entries=(Entry(name="head.weight", shape=(2, 3), role=Role.HEAD, module="head"),))
    new, _ = FedIT().apply(
        AdapterState({"head.weight": state["head.weight"]}), np.ones(6), only_head, FedAvg(learning_rate=1)
    )
    assert np.allclose(new["head.weight"], state["head.weight"] + 1)


@pytest.mark.parametrize(("d", "n"), [(6, 9), (9, 6)])
def test_on_factors_it_is_the_product_of_the_means(d: int, n: int, make_clients: Callable) -> None:
    pairs, weights = make_clients(0, d, n, (2, 2, 2))
    b, a = combine("fedit", pairs, weights=weights, rank=2)
    total = weights.sum()
    assert np.allclose(b, sum(weight * own for weight, (own, _) in zip(weights, pairs, strict=True)) / total)
    assert np.allclose(a, sum(weight * own for weight, (_, own) in zip(weights, pairs, strict=True)) / total)


def test_on_factors_it_is_inexact(make_clients: Callable, mean_product: Callable) -> None:
    pairs, weights = make_clients(0, 6, 9, (2, 2, 2))
    b, a = combine("fedit", pairs, weights=weights, rank=2)
    assert not np.allclose(b @ a, mean_product(pairs, weights), atol=0.1)
