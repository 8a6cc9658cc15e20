"""A small adapter of two modules and a head."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role

OUT, IN, RANK = 6, 5, 2


@pytest.fixture(scope="session")
def spec() -> AdapterSpec:
    """Two modules of 6 × 5 at rank 2, and a head of 2 × 3."""
    entries = [Entry(name="head.weight", shape=(2, 3), role=Role.HEAD, module="head")]
    for module in ("layer.0", "layer.1"):
        entries.append(Entry(name=f"{module}.lora_A", shape=(RANK, IN), role=Role.LORA_A, module=module))
        entries.append(Entry(name=f"{module}.lora_B", shape=(OUT, RANK), role=Role.LORA_B, module=module))
    return AdapterSpec(entries=tuple(entries))


@pytest.fixture(scope="session")
def state(spec: AdapterSpec) -> AdapterState:
    rng = np.random.default_rng(0)
    return AdapterState({entry.name: rng.standard_normal(entry.shape) for entry in spec.entries})


@pytest.fixture(scope="session")
def change(spec: AdapterSpec) -> AdapterState:
    """A client's change of every tensor."""
    rng = np.random.default_rng(1)
    return AdapterState({entry.name: rng.standard_normal(entry.shape) for entry in spec.entries})


Pairs = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="session")
def make_clients() -> Callable[..., tuple[Pairs, np.ndarray]]:
    """(seed, d, n, ranks) → independent factors of every client, and unequal weights."""

    def make(seed: int, d: int, n: int, ranks: Sequence[int]) -> tuple[Pairs, np.ndarray]:
        rng = np.random.default_rng(seed)
        pairs = [(rng.standard_normal((d, rank)), rng.standard_normal((rank, n))) for rank in ranks]
        return pairs, rng.uniform(1, 5, len(ranks))

    return make


@pytest.fixture(scope="session")
def mean_product() -> Callable[[Pairs, np.ndarray], np.ndarray]:
    """Σ p_k B_k A_k, formed densely."""

    def mean(pairs: Pairs, weights: np.ndarray) -> np.ndarray:
        total = np.zeros((len(pairs[0][0]), len(pairs[0][1][0])))
        for (b, a), share in zip(pairs, weights / np.sum(weights), strict=True):
            total += share * (b @ a)
        return total

    return mean
