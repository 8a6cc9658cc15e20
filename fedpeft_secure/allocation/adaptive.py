"""`allocation.strategy = "adaptive"`: from public facts to everybody's part of the module.

Guarantee: a decision is a function of the configuration and of the model's public shape. Of examples, labels and counts
only what was released already enters it (`allocation.importance`), so that the slots that a client fills say nothing
else about its data.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from fedpeft_secure.allocation.allotment import Allotment
from fedpeft_secure.allocation.device_terms import client_devices
from fedpeft_secure.allocation.devices import MIB, Device
from fedpeft_secure.allocation.importance import measured, prior
from fedpeft_secure.allocation.importance_file import importance_of
from fedpeft_secure.allocation.shapes import LOW_RANK, load_shape
from fedpeft_secure.allocation.solver import Menu, Option, best_parts, options
from fedpeft_secure.budgets import plan_budgets
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError

CLASSES = 2
"""Of the head, in the cost model: its values are few beside the factors', and the task is not loaded yet."""

ONLY_B = ("ffa", "fedsvd")
"""Strategies whose clients train the factor B alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a client trains, and why.

    Args:
        client, device: names.
        layers, rank, targets, batch, local_steps: chosen.
        peak_bytes, seconds: predicted, of a step (with headroom) and of a round.
        reason: in words.
    """

    client: str
    device: str
    layers: int
    rank: int
    targets: tuple[str, ...]
    batch: int
    local_steps: int
    peak_bytes: int
    seconds: float
    reason: str

    @property
    def description(self) -> str:
        """One line for the log."""
        return (
            f"{self.client} ({self.device}): top {self.layers} layers, rank {self.rank}, {', '.join(self.targets)}, "
            f"batches of {self.batch}, {self.local_steps} steps; {self.reason}"
        )


def decide(config: Config) -> tuple[Decision, ...]:
    """Every client's part, in order.

    Raises:
        ConfigError: If the method's cost is not modelled, or a device can train no part at all.
    """
    return _decide(config.model_dump_json())


def uneven(decisions: tuple[Decision, ...]) -> str | None:
    """What to mind where some clients train layers that others do not."""
    deepest = max(decision.layers for decision in decisions)
    whole = sum(decision.layers == deepest for decision in decisions)
    if whole == len(decisions):
        return None
    return (
        f"{whole} of {len(decisions)} clients alone train the deepest layers, and pull them to their own data where "
        "clients' data differ: allocation.holders = 1 deals only what all can train"
    )


def adapt(config: Config) -> Config:
    """The configuration with a module no larger than what is dealt: slots that nobody fills are not sent.

    A configuration that was adapted stays as it is.
    """
    if config.allocation.strategy != "adaptive":
        return config
    decisions = decide(config)
    deepest = max(decision.layers for decision in decisions)
    used = {target for decision in decisions for target in decision.targets}
    everything = load_shape(config.model.name, classes=CLASSES).layers
    box = {
        "rank": max(decision.rank for decision in decisions),
        "layers": 0 if deepest == everything else deepest,
        "targets": tuple(target for target in config.peft.targets if target in used),
    }
    return config.model_copy(update={"peft": config.peft.model_copy(update=box)})


def adaptive_allotments(config: Config) -> tuple[Allotment, ...]:
    """The same for plans, relative to the module of an adapted configuration."""
    config = adapt(config)
    deepest = config.peft.layers or load_shape(config.model.name, classes=CLASSES).layers
    return tuple(
        Allotment(
            client=decision.client,
            rank=0 if decision.rank == config.peft.rank else decision.rank,
            layers=0 if decision.layers == deepest else decision.layers,
            targets=() if decision.targets == config.peft.targets else decision.targets,
            local_steps=decision.local_steps,
        )
        for decision in decide(config)
    )


@lru_cache(maxsize=64)
def _decide(text: str) -> tuple[Decision, ...]:
    config = Config.model_validate_json(text)
    _check(config)
    menu = menu_of(config)
    devices = client_devices(config)
    noise = [budget.noise_multiplier for budget in plan_budgets(config)]
    chosen = best_parts(menu, devices, noise_multipliers=noise, fewest=fewest_fillers(config))
    if chosen is None:
        raise ConfigError(_why_none(config, menu, devices))
    return tuple(
        _decision(menu, client, device, option)
        for client, device, option in zip(config.client_names, devices, chosen, strict=True)
    )


def fewest_fillers(config: Config) -> int:
    """Clients of all that must fill a slot: `min_cohort` in every cohort that finishes, and the configured share."""
    absent = config.clients.count - min(config.clients.per_round, config.clients.count)
    dropped = math.ceil(config.secure_sum.dropout_fraction * config.clients.per_round)
    held = math.ceil(config.allocation.holders * config.clients.count)
    return min(max(config.secure_sum.min_cohort + absent + dropped, held), config.clients.count)


def menu_of(config: Config) -> Menu:
    """What may be chosen in a run."""
    shape, training = load_shape(config.model.name, classes=CLASSES), config.training
    found = importance_of(config, shape)
    private = any(config.is_private(client) for client in config.client_names)
    strategy = config.aggregation.strategy
    return Menu(
        shape=shape,
        method=config.peft.method,
        trains_a=not (strategy in ONLY_B or (strategy == "auto" and private)),
        private=private,
        adamw=training.optimizer == "adamw",
        length=config.model.max_length,
        layers=min(config.peft.layers or shape.layers, shape.layers),
        targets=config.peft.targets,
        ranks=_doubling(1, config.peft.rank),
        batches=_doubling(min(config.allocation.smallest_batch, training.physical_batch), training.physical_batch),
        local_steps=training.local_steps,
        nominal_batch=training.nominal_batch,
        expected_batch=(
            training.nominal_batch if found is None else max(1.0, training.sample_rate * found.examples / found.clients)
        ),
        round_seconds=config.allocation.round_seconds,
        bits=config.secure_sum.bits,
        cohort=config.clients.per_round,
        weights=prior(shape, config.peft.targets) if found is None else measured(found, shape),
    )


def _doubling(first: int, last: int) -> tuple[int, ...]:
    """first, 2·first, … and `last`."""
    return (*[first * 2**n for n in range(64) if first * 2**n < last], last)


def _check(config: Config) -> None:
    if config.peft.method not in LOW_RANK:
        raise ConfigError(
            f'allocation.strategy: "adaptive" deals layers and ranks of LoRA, and not of {config.peft.method!r}; use '
            'peft.method = "lora" or "rslora", or allocation.strategy = "uniform"'
        )
    if config.allocation.ranks:
        raise ConfigError('allocation.ranks: "adaptive" decides the ranks; leave it away, or use strategy = "uniform"')
    if config.privacy.unit == "client":
        raise ConfigError(
            'allocation.strategy: noise shares of whole clients fill every slot, whatever is dealt; use "uniform", or '
            'privacy.unit = "example"'
        )


def _decision(menu: Menu, client: str, device: Device, option: Option) -> Decision:
    part = option.part
    return Decision(
        client=client,
        device=device.kind,
        layers=part.layers,
        rank=part.rank,
        targets=part.targets,
        batch=option.batch,
        local_steps=option.steps,
        peak_bytes=round(option.peak_bytes),
        seconds=option.seconds,
        reason=(
            f"{option.peak_bytes / MIB:.0f} of {device.memory_bytes / MIB:.0f} MiB and {option.seconds:.1f} s a round "
            f"by the cost model, expected importance {option.value:.2f}"
            + (f" within {menu.round_seconds:g} s" if math.isfinite(menu.round_seconds) else "")
        ),
    )


def _why_none(config: Config, menu: Menu, devices: tuple[Device, ...]) -> str:
    for client, device in zip(config.client_names, devices, strict=True):
        if not options(menu, device, noise_multiplier=0.0):
            return (
                f"allocation.devices: {client} ({device.kind}, {device.memory_bytes / MIB:.0f} MiB) cannot train even "
                "one layer within its limits; lower allocation.smallest_batch or model.max_length, raise "
                "allocation.round_seconds, or leave it out"
            )
    smallest = menu.upload_bytes(min(menu.parts))
    return (
        f"allocation.devices: no part is filled by {fewest_fillers(config)} clients and within everybody's upload_kib "
        f"(the smallest takes {smallest} bytes); raise upload_kib, or lower secure_sum.min_cohort or "
        "allocation.holders"
    )
