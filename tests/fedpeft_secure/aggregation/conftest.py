"""A small adapter of two modules and a head."""

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
