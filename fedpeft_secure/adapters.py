"""The public shape of a PEFT module and its values, in one canonical order."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from fedpeft_secure.errors import FedPeftError

Array = np.ndarray


class Role(StrEnum):
    """What a tensor is to the strategies: a factor of ΔW = s·BA, part of the head, or anything else (bias, prompt).

    BASE is what a strategy adds to the frozen weights of a module, in units of B A; CONTROL a control variate.
    """

    LORA_A = "lora_A"
    LORA_B = "lora_B"
    HEAD = "head"
    BODY = "body"
    BASE = "base"
    CONTROL = "control"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One tensor: its name in PEFT's format, its shape, its role and the module that it belongs to."""

    name: str
    shape: tuple[int, ...]
    role: Role
    module: str

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterSpec:
    """The public structure of an adapter: its tensors, sorted by name, without values."""

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.entries]
        if names != sorted(set(names)):
            raise FedPeftError("AdapterSpec.entries must be sorted by name and unique")

    @property
    def names(self) -> tuple[str, ...]:
        """Tensor names in canonical order."""
        return tuple(entry.name for entry in self.entries)

    @property
    def size(self) -> int:
        """Number of values in all."""
        return sum(entry.size for entry in self.entries)

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that hold a pair of factors, in canonical order."""
        factors = (Role.LORA_A, Role.LORA_B)
        return tuple(sorted({entry.module for entry in self.entries if entry.role in factors}))

    def only(self, roles: Iterable[Role]) -> "AdapterSpec":
        """The part of the adapter that has one of `roles`."""
        wanted = set(roles)
        return AdapterSpec(entries=tuple(entry for entry in self.entries if entry.role in wanted))

    def name_of(self, module: str, role: Role) -> str:
        """The tensor of `module` that plays `role`."""
        return next(entry.name for entry in self.entries if entry.module == module and entry.role is role)


@dataclass(frozen=True, slots=True, eq=False)
class AdapterState:
    """The values of an adapter: float32 arrays by name, read-only."""

    values: Mapping[str, Array]

    def __post_init__(self) -> None:
        frozen = {name: _read_only(self.values[name]) for name in sorted(self.values)}
        object.__setattr__(self, "values", MappingProxyType(frozen))

    def __getitem__(self, name: str) -> Array:
        return self.values[name]

    def replace(self, values: Mapping[str, Array]) -> "AdapterState":
        """A new state with some tensors exchanged."""
        unknown = set(values) - set(self.values)
        if unknown:
            raise FedPeftError(f"no tensor {sorted(unknown)[0]!r} in this adapter")
        return AdapterState({**self.values, **values})

    def to_bytes(self) -> bytes:
        """The values as safetensors."""
        return save_safetensors(dict(self.values))

    @classmethod
    def from_bytes(cls, data: bytes, spec: AdapterSpec) -> "AdapterState":
        """Reads safetensors and checks names, shapes, type and finiteness against `spec`.

        Raises:
            FedPeftError: If the bytes are no adapter of this structure.
        """
        try:
            values = load_safetensors(data)
        except Exception as error:
            raise FedPeftError("these bytes are no safetensors adapter") from error
        if tuple(sorted(values)) != spec.names:
            raise FedPeftError("the adapter's tensors are not those of the agreed structure")
        for entry in spec.entries:
            value = values[entry.name]
            if value.shape != entry.shape or value.dtype != np.float32 or not np.isfinite(value).all():
                raise FedPeftError(f"tensor {entry.name!r} has a wrong shape or type, or is not finite")
        return cls(values)

    def digest(self) -> bytes:
        """SHA-256 over names, shapes and values in canonical order: the model hash that clients check."""
        digest = hashlib.sha256(b"fedpeft-secure/adapter/v1\0")
        for name, value in self.values.items():
            digest.update(f"{name}:{value.shape}\0".encode())
            digest.update(value.astype("<f4", copy=False).tobytes())
        return digest.digest()


def flatten(state: AdapterState, spec: AdapterSpec) -> Array:
    """The tensors of `spec` in one vector of shape (spec.size,), float32, in canonical order."""
    return np.concatenate([np.zeros(0, dtype=np.float32), *(state[entry.name].reshape(-1) for entry in spec.entries)])


def unflatten(vector: Array, spec: AdapterSpec) -> dict[str, Array]:
    """The inverse of `flatten`: arrays by name.

    Raises:
        FedPeftError: If the vector has not `spec.size` values.
    """
    if vector.shape != (spec.size,):
        raise FedPeftError(f"expected {spec.size} values, got an array of shape {vector.shape}")
    values, start = {}, 0
    for entry in spec.entries:
        values[entry.name] = vector[start : start + entry.size].reshape(entry.shape)
        start += entry.size
    return values


def _read_only(value: Array) -> Array:
    array = np.array(value, dtype=np.float32, order="C")
    array.setflags(write=False)
    return array
