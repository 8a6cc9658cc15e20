"""PEFT methods: base model + method → adapted model + public structure. The only package that imports peft."""

from fedpeft_secure.methods.base import HEADS, AdaptedModel, MethodOptions, Wrap, heads_of
from fedpeft_secure.methods.base_delta import add_saved_base
from fedpeft_secure.methods.files import load_adapter, save_adapter
from fedpeft_secure.methods.registry import METHODS, wrap
from fedpeft_secure.methods.rules import rules_for
from fedpeft_secure.methods.selected import SelectedModel
from fedpeft_secure.methods.state import (
    base_values,
    named_trainable,
    public_name,
    read_state,
    spec_of,
    train_only,
    write_state,
)

__all__ = [
    "HEADS",
    "METHODS",
    "AdaptedModel",
    "MethodOptions",
    "SelectedModel",
    "Wrap",
    "add_saved_base",
    "base_values",
    "heads_of",
    "load_adapter",
    "named_trainable",
    "public_name",
    "read_state",
    "rules_for",
    "save_adapter",
    "spec_of",
    "train_only",
    "wrap",
    "write_state",
]
