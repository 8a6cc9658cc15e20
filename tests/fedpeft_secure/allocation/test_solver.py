from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from fedpeft_secure.allocation.cost import cost_of
from fedpeft_secure.allocation.devices import MIB, Device
from fedpeft_secure.allocation.importance import importance, prior
from fedpeft_secure.allocation.shapes import ModelShape
from fedpeft_secure.allocation.solver import HEADROOM, Menu, Option, Part, best_parts, cells, options

with torch.device("meta"):
    SHAPE = ModelShape.of(
        BertModel(
            BertConfig(
                vocab_size=100, num_hidden_layers=3, hidden_size=64, intermediate_size=256, num_attention_heads=4
            ),
            add_pooling_layer=False,
        )
    )
MENU = Menu(
    shape=SHAPE,
    method="lora",
    trains_a=True,
    private=True,
    adamw=False,
    length=32,
    layers=3,
    targets=("query", "value"),
    ranks=(1, 2, 4),
    batches=(4, 8, 16),
    local_steps=3,
    nominal_batch=20,
    expected_batch=20,
    round_seconds=4.0,
    bits=16,
    cohort=4,
    weights=prior(SHAPE, ("query", "value")),
)
devices = st.builds(
    Device,
    kind=st.just("any"),
    memory_bytes=st.floats(1 * MIB, 40 * MIB),
    seconds_per_flop=st.floats(1e-10, 3e-8),
    seconds_per_kernel=st.sampled_from([0.0, 1e-3]),
    workspace_bytes=st.just(0.0),
    upload_bytes=st.sampled_from([float("inf"), 4000.0, 9000.0]),
)
noises = st.sampled_from([0.0, 0.8, 4.0])


def naive(menu: Menu, device: Device, noise: float) -> dict[Part, float]:
    """The best value of every part, by trying every batch and number of steps one after another."""
    found: dict[Part, float] = {}
    for layers, targets, rank in product((1, 2, 3), (("query",), ("value",), ("query", "value")), (1, 2, 4)):
        part = Part(layers=layers, targets=targets, rank=rank)
        slot = 128 * (noise / 20) ** 2 / 4
        worth = importance(menu.weights, layers=layers, targets=targets, rank=rank, noise=slot)
        for batch, steps in product((4, 8, 16), (1, 2, 3)):
            cost = cost_of(SHAPE, menu.choice(part, batch=batch))
            fits = device.peak_bytes(cost) * HEADROOM <= device.memory_bytes
            in_time = device.step_seconds(cost) * 20 / batch * steps <= menu.round_seconds
            if fits and in_time:
                found[part] = max(found.get(part, -1e9), worth * (steps / 3) ** 0.5 if worth > 0 else worth)
    return found


@given(device=devices, noise=noises)
@settings(max_examples=60)
def test_every_option_is_the_best_of_its_part(device: Device, noise: float) -> None:
    expected = naive(MENU, device, noise)
    found = {option.part: option for option in options(MENU, device, noise_multiplier=noise)}
    assert found.keys() == expected.keys()
    for part, option in found.items():
        if option.value > 0:
            assert option.value == pytest.approx(expected[part])
        assert option.peak_bytes <= device.memory_bytes
        assert option.seconds <= MENU.round_seconds * (1 + 1e-9)


def brute(menu: Menu, given: list[tuple[Option, ...]], upload: float, fewest: int) -> float:
    """The largest total value of all ways to give everybody an option."""
    best = -np.inf
    for chosen in product(*given):
        counts = sum(cells(menu, option.part) for option in chosen)
        box = Part(
            layers=max(o.part.layers for o in chosen),
            targets=tuple(t for t in menu.targets if any(t in o.part.targets for o in chosen)),
            rank=max(o.part.rank for o in chosen),
        )
        if not ((counts > 0) & (counts < fewest)).any() and menu.upload_bytes(box) <= upload:
            best = max(best, sum(option.value for option in chosen))
    return best


SMALL = replace(MENU, layers=2, ranks=(1, 4), batches=(4,), local_steps=1)


@given(kinds=st.lists(devices, min_size=3, max_size=3), noise=noises)
@settings(max_examples=25)
def test_without_a_need_for_company_nothing_is_better(kinds: list[Device], noise: float) -> None:
    chosen = best_parts(SMALL, kinds, noise_multipliers=[noise] * 3, fewest=1)
    given = [options(SMALL, device, noise_multiplier=noise) for device in kinds]
    best = brute(SMALL, given, min(device.upload_bytes for device in kinds), 1)
    if chosen is None:
        assert best == -np.inf
    else:
        assert sum(option.value for option in chosen) == pytest.approx(best)


@given(kinds=st.lists(devices, min_size=4, max_size=4), noise=noises, fewest=st.integers(2, 4))
@settings(max_examples=40)
def test_what_is_filled_is_filled_by_enough(kinds: list[Device], noise: float, fewest: int) -> None:
    chosen = best_parts(MENU, kinds, noise_multipliers=[noise] * 4, fewest=fewest)
    if chosen is None:
        return
    counts = sum(cells(MENU, option.part) for option in chosen)
    assert not ((counts > 0) & (counts < fewest)).any()
    for option, device in zip(chosen, kinds, strict=True):
        assert option in options(MENU, device, noise_multiplier=noise)


def device(memory_mib: float = 1000.0, **changes: float) -> Device:
    return Device(kind="test", memory_bytes=memory_mib * MIB, seconds_per_flop=1e-11, **changes)


def test_an_ample_device_trains_everything() -> None:
    (option, *_) = best_parts(MENU, [device()] * 4, noise_multipliers=[0.0] * 4, fewest=3) or ()
    assert option.part == Part(layers=3, targets=("query", "value"), rank=4)
    assert (option.batch, option.steps) == (16, 3)


def test_much_noise_lowers_the_rank() -> None:
    ranks = []
    for noise in (0.0, 0.5, 1.0, 2.0):
        chosen = best_parts(MENU, [device()] * 4, noise_multipliers=[noise] * 4, fewest=3)
        assert chosen is not None
        ranks.append(chosen[0].part.rank)
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[0] == 4
    assert ranks[-1] < 4


def test_too_little_time_lowers_steps_and_then_depth() -> None:
    whole = options(MENU, device(), noise_multiplier=0.0)[0]
    limits = [whole.seconds * share for share in (1.0, 0.7, 0.27)]
    found = []
    for limit in limits:
        chosen = best_parts(replace(MENU, round_seconds=limit), [device()], noise_multipliers=[0.0], fewest=1)
        assert chosen is not None
        found.append(chosen[0])
        assert chosen[0].seconds <= limit * (1 + 1e-9)
    assert found[0].steps == 3
    assert found[2].part.layers < 3 or found[2].steps < 3


def test_one_slow_network_shortens_the_vector_of_all() -> None:
    whole = MENU.upload_bytes(Part(layers=3, targets=("query", "value"), rank=4))
    chosen = best_parts(
        MENU, [device(), device(), device(upload_bytes=whole / 2)], noise_multipliers=[0.0] * 3, fewest=1
    )
    assert chosen is not None
    box = Part(layers=max(o.part.layers for o in chosen), targets=chosen[0].part.targets, rank=chosen[0].part.rank)
    assert MENU.upload_bytes(box) <= whole / 2


def test_nobody_fills_a_slot_alone() -> None:
    def depths(memory_mib: float) -> set[int]:
        return {option.part.layers for option in options(MENU, device(memory_mib), noise_multiplier=0.0)}

    weak = device(next(memory for memory in np.arange(1, 30, 0.05) if depths(memory) == {1}))
    chosen = best_parts(MENU, [weak, weak, device()], noise_multipliers=[0.0] * 3, fewest=2)
    assert chosen is not None
    assert [option.part.layers for option in chosen] == [1, 1, 1]
    alone = best_parts(MENU, [weak, weak, device()], noise_multipliers=[0.0] * 3, fewest=1)
    assert alone is not None
    assert alone[2].part.layers == 3


def test_a_device_that_can_train_nothing() -> None:
    assert best_parts(MENU, [device(), device(0.1)], noise_multipliers=[0.0] * 2, fewest=1) is None
