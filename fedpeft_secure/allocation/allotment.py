"""Which part of the module a client trains: public, and the same for everybody who asks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role

LAYER = re.compile(r"(?:^|\.)(?:layer|layers|block|h)\.(\d+)\.")
"""How models number their layers in the names of their tensors, from the input."""

ALIASES = {"query": ("q_lin", "q", "q_proj"), "value": ("v_lin", "v", "v_proj"), "key": ("k_lin", "k", "k_proj")}
"""What architectures with other names than BERT's call its attention modules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allotment:
    """A client's part: it trains the first slots of the factors in the named modules of the top layers.

    Only facts about devices may decide it, or released ones about data: it is public.

    Args:
        client: its name.
        rank: slots of every factor; 0 for all.
        layers: tuned layers, from the output; 0 for all. What is in no layer, such as the head, is always tuned.
        targets: modules whose factors are tuned, as in `peft.targets`; empty for all.
        local_steps: of a round.

    Raises:
        ValueError: If a number is negative, or no step is left.
    """

    client: str
    rank: int = 0
    layers: int = 0
    targets: tuple[str, ...] = ()
    local_steps: int = 1

    def __post_init__(self) -> None:
        for name, least in (("rank", 0), ("layers", 0), ("local_steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"Allotment.{name} = {getattr(self, name)} of {self.client} must be at least {least}")

    def part_of(self, spec: AdapterSpec) -> AdapterSpec:
        """The tensors of `spec` that the client tunes; of factors, as many slots as `slots` says."""
        lowest = _lowest_layer(spec, self.layers)
        return AdapterSpec(entries=tuple(entry for entry in spec.entries if self._tunes(entry, lowest)))

    def slots(self, rank: int) -> int:
        """How many of the module's `rank` slots the client has."""
        return min(self.rank, rank) if self.rank else rank

    def _tunes(self, entry: Entry, lowest: int) -> bool:
        layer = layer_of(entry)
        if layer is not None and layer < lowest:
            return False
        if not self.targets or entry.role not in (Role.LORA_A, Role.LORA_B):
            return True
        return entry.module.rsplit(".", 1)[-1] in {name for target in self.targets for name in names_of(target)}


def layer_of(entry: Entry) -> int | None:
    """The layer that a tensor is in, counted from the input; None for the head and for what spans all layers."""
    found = LAYER.search(entry.name)
    return None if found is None or entry.role is Role.HEAD else int(found.group(1))


def slot_mask(entry: Entry, slots: np.ndarray) -> np.ndarray | None:
    """1 for the values of a factor in the slots that `slots`, of shape (r,), marks, else 0; None for no factor.

    Its shape, (1, r) for B and (r, 1) for A, goes with the factor's.
    """
    if entry.role is Role.LORA_B:
        return slots.astype(np.float32)[None, :]
    return slots.astype(np.float32)[:, None] if entry.role is Role.LORA_A else None


def first_slots(spec: AdapterSpec, allotment: Allotment) -> Mapping[str, np.ndarray]:
    """`slot_mask` of the factors of all modules that a client tunes with fewer slots than they have."""
    tuned, masks = set(allotment.part_of(spec).modules), {}
    for entry in spec.entries:
        if entry.role in (Role.LORA_A, Role.LORA_B) and entry.module in tuned:
            slots = np.arange(rank_of(entry)) < allotment.slots(rank_of(entry))
            if not slots.all() and (mask := slot_mask(entry, slots)) is not None:
                masks[entry.name] = mask
    return masks


def masked(state: AdapterState, masks: Mapping[str, np.ndarray]) -> AdapterState:
    """The values where the masks are 1, zero elsewhere.

    A slot whose column of B and row of A are zero has exactly zero gradients: training then equals that of a smaller
    rank, and so do the norms that gradients are clipped to.
    """
    return state.replace({name: state[name] * mask for name, mask in masks.items()}) if masks else state


def rank_of(entry: Entry) -> int:
    """The slots of a factor: columns of B, rows of A."""
    return entry.shape[1] if entry.role is Role.LORA_B else entry.shape[0]


def names_of(target: str) -> tuple[str, ...]:
    """What a target may be called in a model: its own name, and those of other architectures."""
    return (target, *ALIASES.get(target, ()))


def _lowest_layer(spec: AdapterSpec, layers: int) -> int:
    if not layers:
        return 0
    numbers = [layer for entry in spec.entries if (layer := layer_of(entry)) is not None]
    return max(numbers, default=0) + 1 - layers
