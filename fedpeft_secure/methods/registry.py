"""Finds a PEFT method by name or by "package.module:Name"."""

import importlib
from collections.abc import Mapping

from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.config import PeftTable
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods import (
    adalora,
    bitfit,
    bottleneck,
    dora,
    full,
    head,
    ia3,
    lora,
    lora_xs,
    prefix,
    prompt,
    vera,
)
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions, Wrap

METHODS: Mapping[str, Wrap] = {
    "lora": lora.wrap,
    "rslora": lora.wrap,
    "dora": dora.wrap,
    "vera": vera.wrap,
    "lora_xs": lora_xs.wrap,
    "adalora": adalora.wrap,
    "ia3": ia3.wrap,
    "adapter": bottleneck.wrap,
    "bitfit": bitfit.wrap,
    "prefix": prefix.wrap,
    "prompt": prompt.wrap,
    "full": full.wrap,
    "head": head.wrap,
}


def wrap(base: nn.Module, peft: PeftTable, *, public_name: str, seed: int) -> tuple[AdaptedModel, AdapterSpec]:
    """Adapts `base` by the method that `peft` names.

    Args:
        base: a classifier of `models.load_classifier`.
        peft: the `[peft]` table.
        public_name: written into the adapter as the base model's name; no local path.
        seed: of the adapter's random start.

    Returns:
        The adapted model (adapter and head trainable, all else frozen) and the structure of its adapter.

    Raises:
        ModelError: If the method does not fit the model, or there is no such method.
    """
    method = METHODS[peft.method] if peft.method in METHODS else _custom(peft.method)
    return method(base, MethodOptions(table=peft, public_name=public_name, seed=seed))


def _custom(name: str) -> Wrap:
    module, _, attribute = name.partition(":")
    try:
        found: Wrap = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(
            f"peft.method: cannot use {name!r} ({error}); name a function wrap(base, options) as package.module:name"
        ) from error
    return found
