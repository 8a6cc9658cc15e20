"""Gives every client the part of the module that matters most within its device's limits; exact, by full search.

A part is a box: the top layers, some target modules, the first slots of their factors. The menu of boxes is small, so
nothing is greedy: every box is tried for every device, with the batch that is fastest within its memory. What couples
the clients is tried in full, too: the box around all parts, whose values every client sends.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fedpeft_secure.allocation.cost import cost_of, trained_values
from fedpeft_secure.allocation.devices import Device
from fedpeft_secure.allocation.importance import Weights, importance, slot_noise
from fedpeft_secure.allocation.shapes import Choice, ModelShape

HEADROOM = 1.2
"""How much more than the cost model says must fit: its own largest error."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Part:
    """A box of the module: top layers, targets, first slots."""

    layers: int
    targets: tuple[str, ...]
    rank: int

    def within(self, other: "Part") -> bool:
        """Whether `other` has all that this has."""
        return self.layers <= other.layers and self.rank <= other.rank and set(self.targets) <= set(other.targets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Menu:
    """What may be chosen, and the public terms that decide its cost.

    Args:
        shape: of the model.
        method, trains_a, private, adamw, length: as in `Choice`.
        layers: the most tuned layers.
        targets: modules that may be adapted.
        ranks, batches: ascending.
        local_steps: of a round, at most.
        nominal_batch: the public divisor of a step's sum.
        expected_batch: examples that a step is expected to have.
        round_seconds: the longest local training.
        bits: of a value on the wire.
        cohort: clients of a round.
        weights: how much each target of each layer counts.
    """

    shape: ModelShape
    method: str
    trains_a: bool
    private: bool
    adamw: bool
    length: int
    layers: int
    targets: tuple[str, ...]
    ranks: tuple[int, ...]
    batches: tuple[int, ...]
    local_steps: int
    nominal_batch: float
    expected_batch: float
    round_seconds: float
    bits: int
    cohort: int
    weights: Weights

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every box, the largest first."""
        some = [c for size in range(len(self.targets), 0, -1) for c in combinations(self.targets, size)]
        layers = range(min(self.layers, self.shape.layers), 0, -1)
        return tuple(Part(layers=k, targets=t, rank=r) for k in layers for t in some for r in reversed(self.ranks))

    def choice(self, part: Part, *, batch: int) -> Choice:
        """A part with a batch, for the cost model."""
        return Choice(
            method=self.method,
            layers=part.layers,
            targets=part.targets,
            rank=part.rank,
            trains_a=self.trains_a,
            batch=batch,
            length=self.length,
            private=self.private,
            adamw=self.adamw,
        )

    def upload_bytes(self, box: Part) -> int:
        """Of every client's vector, when `box` holds all parts: a sum has the same length for everybody."""
        return -(-trained_values(self.shape, self.choice(box, batch=1)) * self.bits // 8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """A part that a device can train, and how.

    Args:
        part: of the module.
        batch: the fastest within the memory.
        steps: as many as the time allows.
        peak_bytes, seconds: predicted, of a step (with headroom) and of a round.
        value: expected importance.
    """

    part: Part
    batch: int
    steps: int
    peak_bytes: float
    seconds: float
    value: float


def options(menu: Menu, device: Device, *, noise_multiplier: float) -> tuple[Option, ...]:
    """Every part that `device` can train, with its best batch and steps.

    Args:
        menu: of the run.
        device: of the client.
        noise_multiplier: the client's; 0 without privacy.
    """
    found = []
    for part in menu.parts:
        runs = [run for batch in menu.batches if (run := _run(menu, device, part, batch)) is not None]
        if not runs:
            continue
        steps, seconds, peak, batch = max(runs, key=lambda run: (run[0], -round(run[1], 9), run[3]))
        value = _importance(menu, part, noise_multiplier) * math.sqrt(steps / menu.local_steps)
        found.append(Option(part=part, batch=batch, steps=steps, peak_bytes=peak, seconds=seconds * steps, value=value))
    return tuple(found)


def best_parts(
    menu: Menu, devices: Sequence[Device], *, noise_multipliers: Sequence[float], fewest: int
) -> tuple[Option, ...] | None:
    """The options, one a client, of the largest total value; None where some client can train nothing.

    Guarantee: every client is within its own limits; the vector of the box around all parts is within everybody's
        upload; every layer, module and slot is filled by `fewest` clients or by none.
    Does not cover: where a filled slot has too few clients, the parts that hold it are struck from everybody's menu and
        all choose anew; raising somebody to fill it is not tried.

    Args:
        menu: of the run.
        devices: of the clients, in order.
        noise_multipliers: of the clients.
        fewest: clients that fill whatever is filled.
    """
    kinds = list(zip(devices, noise_multipliers, strict=True))
    able = {kind: options(menu, kind[0], noise_multiplier=kind[1]) for kind in dict.fromkeys(kinds)}
    upload = min(device.upload_bytes for device in devices)
    best: tuple[Option, ...] | None = None
    for box in menu.parts:
        if menu.upload_bytes(box) > upload:
            continue
        inside = {kind: [o for o in found if o.part.within(box)] for kind, found in able.items()}
        chosen = _filled(menu, kinds, inside, fewest=fewest)
        if chosen is not None and (best is None or _total(chosen) > _total(best) + 1e-9):
            best = chosen
    return best


def _run(menu: Menu, device: Device, part: Part, batch: int) -> tuple[int, float, float, int] | None:
    """(steps, seconds of a step, peak bytes, batch), or None where a step does not fit."""
    cost = cost_of(menu.shape, menu.choice(part, batch=batch))
    peak = HEADROOM * device.peak_bytes(cost)
    seconds = device.step_seconds(cost) * menu.expected_batch / batch
    steps = min(menu.local_steps, int(menu.round_seconds / seconds)) if math.isfinite(menu.round_seconds) else None
    steps = menu.local_steps if steps is None else steps
    return (steps, seconds, peak, batch) if peak <= device.memory_bytes and steps >= 1 else None


def _importance(menu: Menu, part: Part, noise_multiplier: float) -> float:
    adapted = menu.shape.adapted(part.targets)
    noise = sum(
        slot_noise(
            linear,
            trains_a=menu.trains_a,
            noise_multiplier=noise_multiplier,
            nominal_batch=menu.nominal_batch,
            cohort=menu.cohort,
        )
        for linear in adapted
    ) / max(len(adapted), 1)
    return importance(menu.weights, layers=part.layers, targets=part.targets, rank=part.rank, noise=noise)


def _filled(
    menu: Menu,
    kinds: Sequence[tuple[Device, float]],
    inside: Mapping[tuple[Device, float], list[Option]],
    *,
    fewest: int,
) -> tuple[Option, ...] | None:
    """Everybody's best option, struck down until whatever is filled is filled by enough."""
    while all(inside.values()):
        favourite = {kind: max(found, key=_preference) for kind, found in inside.items()}
        chosen = tuple(favourite[kind] for kind in kinds)
        counts = np.sum([cells(menu, option.part) for option in chosen], axis=0)
        short = (counts > 0) & (counts < fewest)
        if not short.any():
            return chosen
        inside = {kind: [o for o in found if not (cells(menu, o.part) & short).any()] for kind, found in inside.items()}
    return None


def _preference(option: Option) -> tuple[float, int]:
    """The most valuable; of equals, the smallest: what counts for nothing is not trained."""
    part = option.part
    return round(option.value, 9), -part.layers * len(part.targets) * part.rank


def cells(menu: Menu, part: Part) -> np.ndarray:
    """1 where `part` fills (layers from the output, targets, ranks of the menu), else 0."""
    filled = np.zeros((menu.layers, len(menu.targets), len(menu.ranks)), dtype=np.int64)
    targets = [index for index, target in enumerate(menu.targets) if target in part.targets]
    filled[: part.layers, targets, : menu.ranks.index(part.rank) + 1] = 1
    return filled


def _total(chosen: tuple[Option, ...]) -> float:
    return sum(option.value for option in chosen)
