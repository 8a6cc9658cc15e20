"""A shared tiny model, an adapter away from its zero start, and a few examples of different length."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fedpeft_secure import Config
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.backbone import Backbone, load_backbone
from fedpeft_secure.clients.batches import Examples


class FixedSample:
    """A sampler that draws what it was told, and remembers what it was asked for."""

    label = "simulation"

    def __init__(self, *draws: list[int]) -> None:
        self.draws = list(draws)
        self.asked: list[tuple[int, float]] = []

    def draw(self, count: int, sample_rate: float) -> NDArray[np.int64]:
        self.asked.append((count, sample_rate))
        return np.array(self.draws.pop(0), dtype=np.int64)


@pytest.fixture(scope="session")
def fixed_sample() -> type[FixedSample]:
    return FixedSample


@pytest.fixture(scope="session")
def loaded(tiny_config: Callable[..., Config]) -> tuple[Backbone, AdapterState]:
    return load_backbone(tiny_config(), num_labels=2)


@pytest.fixture(scope="session")
def backbone(loaded: tuple[Backbone, AdapterState]) -> Backbone:
    return loaded[0]


@pytest.fixture(scope="session")
def start(loaded: tuple[Backbone, AdapterState]) -> AdapterState:
    return loaded[1]


@pytest.fixture(scope="session")
def state(start: AdapterState) -> AdapterState:
    """Where B and the head are not zero, so that every factor has a gradient."""
    rng = np.random.default_rng(0)
    return AdapterState({name: value + rng.normal(0, 0.3, value.shape) for name, value in start.values.items()})


@pytest.fixture(scope="session")
def examples() -> Examples:
    rng = np.random.default_rng(1)
    lengths = [3, 9, 4, 12, 5, 3, 7, 6, 8, 4]
    return Examples(
        token_ids=tuple([2, *rng.integers(4, 600, length).tolist(), 3] for length in lengths),
        labels=np.array([0, 1] * 5),
        padding_id=0,
    )
