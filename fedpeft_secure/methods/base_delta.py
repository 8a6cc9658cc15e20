"""Changes of the frozen weights beside the factors: put into the model, taken out again, written down and read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fedpeft_secure.adapters import AdapterState

ENDING, PREFIX = ".base_delta", "base_model.model."
"""What a change is called in an adapter, and what PEFT puts before the base model's own names."""

ADAPTER = "default"
FILE = "base_delta.safetensors"

_ORIGINALS: "WeakKeyDictionary[nn.Module, dict[str, Tensor]]" = WeakKeyDictionary()
"""By model: the weights, as they were loaded, of every layer that was ever changed."""


@torch.no_grad()
def write_base(model: nn.Module, state: AdapterState) -> None:
    """Sets the base weights to those that were loaded and the changes in `state`; without a change, to the former."""
    changes = {name.removesuffix(ENDING): value for name, value in state.values.items() if name.endswith(ENDING)}
    originals = _ORIGINALS.setdefault(model, {})
    for module in sorted({*changes, *originals}):
        layer = _layer(model, module)
        weight: Tensor = layer.base_layer.weight
        original = originals.setdefault(module, weight.detach().clone())
        if module in changes:
            change = torch.from_numpy(changes[module].copy()).to(weight.device, weight.dtype)
            weight.copy_(original + layer.scaling[ADAPTER] * change)
        else:
            weight.copy_(original)
            del originals[module]


def save_base(model: nn.Module, state: AdapterState, folder: Path) -> None:
    """Writes the changes of the base weights, if any, by the names of the base model's own parameters.

    Args:
        model: adapted; it knows the scaling of the factors.
        state: with changes in units of B A.
        folder: of the adapter.
    """
    scaled = {
        f"{module.removeprefix(PREFIX)}.weight": _layer(model, module).scaling[ADAPTER] * torch.from_numpy(value.copy())
        for name, value in state.values.items()
        if name.endswith(ENDING) and (module := name.removesuffix(ENDING))
    }
    if scaled:
        save_file(scaled, str(folder / FILE))


@torch.no_grad()
def add_saved_base(base: nn.Module, folder: Path) -> nn.Module:
    """Adds what `save_base` wrote into `folder`, if anything, to the weights of `base`."""
    if (folder / FILE).is_file():
        changes: Mapping[str, Tensor] = load_file(str(folder / FILE))
        for name, change in changes.items():
            base.get_parameter(name).add_(change)
    return base


def _layer(model: nn.Module, module: str) -> Any:
    return model.get_submodule(module)
