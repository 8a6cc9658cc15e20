"""Measures this device: free memory, and how fast it trains the configured model on public random words."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tomli_w
import torch

import dp.noise
import dp.sgd
from fedpeft_secure import methods
from fedpeft_secure.allocation.allotment import Allotment
from fedpeft_secure.allocation.cost import cost_of
from fedpeft_secure.allocation.devices import GIGA, MIB, Device, fit_time
from fedpeft_secure.allocation.shapes import LOW_RANK, Choice, ModelShape, load_shape
from fedpeft_secure.clients.backbone import Backbone, load_backbone
from fedpeft_secure.clients.batches import Batch
from fedpeft_secure.config import Config
from fedpeft_secure.doctor import processor
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.persample import SPECIAL
from fedpeft_secure.rundir import write_atomically

REPEATS = 3
CLASSES = 2
FASTEST = 1e-15
"""Seconds a multiplication, where the model is so small that its calls are all that takes time."""

BATCHES = (1, 4, 16)
"""Of the measured steps; small ones show what a pass costs by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What was measured.

    Args:
        device: its constants.
        steps: (name, measured seconds, seconds by the constants), of every step.
    """

    device: Device
    steps: tuple[tuple[str, float, float], ...]


def measure_device(config: Config) -> Profile:
    """Times steps of training in fp32, of several depths and batches, and fits the device's constants to them.

    The examples are random words: nothing that is measured depends on anybody's data.

    Args:
        config: its model and method are measured.

    Raises:
        ConfigError: If the method's cost is not modelled.
    """
    if config.peft.method not in LOW_RANK:
        raise ConfigError(
            f"peft.method: no cost is known of {config.peft.method!r}; profile this device with "
            '--set peft.method="lora"'
        )
    shape = load_shape(config.model.name, classes=CLASSES)
    backbone = replace(load_backbone(config, num_labels=CLASSES)[0], precision="fp32", lower=None)
    measured = [(choice, cost_of(shape, choice), _seconds(backbone, choice)) for choice in _choices(config, shape)]
    flop, byte, kernel = fit_time([(cost, seconds) for _, cost, seconds in measured])
    device = Device(
        kind=processor(),
        memory_bytes=float(psutil.virtual_memory().available),
        seconds_per_flop=max(flop, FASTEST),
        seconds_per_byte=byte,
        seconds_per_kernel=kernel,
    )
    steps = tuple((_name(choice), seconds, device.step_seconds(cost)) for choice, cost, seconds in measured)
    return Profile(device=device, steps=steps)


def write_profile(profile: Profile, path: Path) -> None:
    """Writes the file that `allocation.devices` can name, as TOML."""
    device = profile.device
    tables = {
        "processor": device.kind,
        "device": {
            "memory_mib": device.memory_bytes / MIB,
            "gflops": 1 / (device.seconds_per_flop * GIGA),
            "seconds_per_gib": device.seconds_per_byte * 2**30,
            "seconds_per_kernel": device.seconds_per_kernel,
        },
    }
    write_atomically(path, tomli_w.dumps(tables).encode())


def _choices(config: Config, shape: ModelShape) -> Iterator[Choice]:
    """Whole depth and a third of it, in small and larger batches."""
    length = min(config.model.max_length, 64)
    deepest = min(config.peft.layers or shape.layers, shape.layers)
    for layers in sorted({deepest, max(1, deepest // 3)}):
        for batch in BATCHES:
            yield Choice(
                method=config.peft.method,
                layers=layers,
                targets=config.peft.targets,
                rank=config.peft.rank,
                batch=batch,
                length=length,
            )


def _seconds(backbone: Backbone, choice: Choice) -> float:
    """The best of a few private steps."""
    methods.train_only(backbone.model, Allotment(client="this", layers=choice.layers).part_of(backbone.spec))
    batch = _random_words(backbone, choice)
    noise = dp.noise.SeededGaussian(np.random.default_rng(0))
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        dp.sgd.noisy_sum(
            backbone.per_example, [batch], backbone.losses, clip_norm=1.0, noise_multiplier=1.0, noise=noise
        )
        times.append(time.perf_counter() - start)
    return min(times)


def _random_words(backbone: Backbone, choice: Choice) -> Batch:
    generator = torch.Generator().manual_seed(0)
    config: Any = backbone.model.config
    ids = torch.randint(SPECIAL, config.vocab_size, (choice.batch, choice.length), generator=generator)
    labels = torch.randint(0, CLASSES, (choice.batch,), generator=generator)
    ids, labels = ids.to(backbone.device), labels.to(backbone.device)
    return Batch(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels)


def _name(choice: Choice) -> str:
    return f"top {choice.layers} layers, {choice.batch} x {choice.length} tokens"
