"""Changes of the frozen weights W, for strategies whose answer does not fit into the factors."""

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role

ENDING = ".base_delta"
"""What a change of a module's weights is called in an adapter, in units of B A."""


def base_name(module: str) -> str:
    """The tensor that W of `module` gains."""
    return module + ENDING


def with_base(spec: AdapterSpec) -> AdapterSpec:
    """The structure with a change of W for every module that holds a pair of factors."""
    shapes = {entry.name: entry.shape for entry in spec.entries}
    added = tuple(
        Entry(
            name=base_name(module),
            shape=(shapes[spec.name_of(module, Role.LORA_B)][0], shapes[spec.name_of(module, Role.LORA_A)][1]),
            role=Role.BASE,
            module=module,
        )
        for module in spec.modules
    )
    return AdapterSpec(entries=tuple(sorted((*spec.entries, *added), key=lambda entry: entry.name)))


def with_unchanged_base(state: AdapterState, spec: AdapterSpec) -> AdapterState:
    """The values with zeros for the changes of W that `spec` has and they have not."""
    missing = {entry.name: np.zeros(entry.shape) for entry in spec.entries if entry.name not in state.values}
    return AdapterState({**state.values, **missing}) if missing else state
