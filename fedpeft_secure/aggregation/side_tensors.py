"""Tensors that travel with the adapter, under its hash, and are no part of the model."""

from collections.abc import Callable
from dataclasses import replace

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role
from fedpeft_secure.aggregation.context import RoundContext


def with_side_tensors(spec: AdapterSpec, trained: AdapterSpec, name_of: Callable[[str], str]) -> AdapterSpec:
    """`spec`, and one tensor more for each of `trained`, of its shape, under the name that `name_of` makes of its."""
    added = (
        Entry(name=name_of(entry.name), shape=entry.shape, role=Role.CONTROL, module=entry.module)
        for entry in trained.entries
    )
    return AdapterSpec(entries=tuple(sorted((*spec.entries, *added), key=lambda entry: entry.name)))


def model_only(spec: AdapterSpec) -> AdapterSpec:
    """The structure without them."""
    return AdapterSpec(entries=tuple(entry for entry in spec.entries if entry.role is not Role.CONTROL))


def model_context(context: RoundContext) -> RoundContext:
    """The round as a strategy knows it that has none."""
    spec = model_only(context.spec)
    return replace(context, spec=spec, state=AdapterState({name: context.state[name] for name in spec.names}))
