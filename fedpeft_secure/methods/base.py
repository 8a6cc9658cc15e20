"""What every PEFT method is given and gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from peft import PeftModel
from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.config import PeftTable
from fedpeft_secure.methods.selected import SelectedModel

AdaptedModel: TypeAlias = PeftModel | SelectedModel
"""A base model with an adapter: one of PEFT's, or the base with some of its own parameters trained."""

HEADS = ("classifier", "pre_classifier", "classification_head", "score")
"""What transformers calls the parts of a classification head."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodOptions:
    """What a method builds its adapter from.

    Args:
        table: the `[peft]` table.
        public_name: written into the adapter as the base model's name; no local path.
        seed: of the adapter's random start; public.
    """

    table: PeftTable
    public_name: str
    seed: int


Wrap: TypeAlias = Callable[[nn.Module, MethodOptions], tuple[AdaptedModel, AdapterSpec]]
"""(base, options) → the adapted model, with adapter and head trainable and all else frozen, and its structure."""


def heads_of(base: nn.Module) -> list[str]:
    """The names of the parts of `base` that are its classification head."""
    return [name for name, _ in base.named_children() if name in HEADS]


def set_public_name(base: nn.Module, options: MethodOptions) -> None:
    """Sets what PEFT writes into the adapter's file as the name of its base."""
    base.__dict__["name_or_path"] = options.public_name


def seed_torch(options: MethodOptions) -> None:
    """Seeds torch's global generator; for use inside `torch.random.fork_rng`."""
    torch.manual_seed(options.seed % 2**63)
