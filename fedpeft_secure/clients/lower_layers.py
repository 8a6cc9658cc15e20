"""The frozen layers below whatever trains: what they make of a text never changes, and is computed once.

With only the upper layers tuned, the hidden states that enter them are a function of the texts and of frozen values.
They are kept for whole sets of examples, and the lower layers are left out of every later pass.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedpeft_secure.clients.batches import Batch, Examples, physical_batches
from fedpeft_secure.methods import HEADS

LAYERS = {"bert": ".encoder.layer", "roberta": ".encoder.layer", "distilbert": ".transformer.layer"}
"""Encoders whose layers map hidden states to hidden states and share nothing else: type → how the list's name ends."""

ABOVE = (*HEADS, "pooler")
"""Parts of a model that come after its last layer."""

BLOCK = 32
"""Texts that pass through the lower layers at once."""

FP32_BYTES = 4

Autocast = Callable[[], AbstractContextManager[object]]
Hidden = tuple[Tensor, ...]
"""What enters the lowest tuned layer, a tensor of shape (length, width) for each example."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Source:
    """The parameters that hidden states were computed by: which they were, how often written to, and their values."""

    below: tuple[nn.Parameter, ...]
    versions: tuple[int, ...]
    digest: bytes

    def is_still(self, below: tuple[nn.Parameter, ...]) -> bool:
        """Whether these are the same parameters, and nobody has written to them."""
        same = len(below) == len(self.below) and all(a is b for a, b in zip(below, self.below, strict=True))
        return same and _versions(below) == self.versions


@dataclass(slots=True, eq=False)
class ActivationStore:
    """Hidden states of whole sets of examples, up to a bound; as private as the texts.

    It may outlive a model: runs of a comparison that share frozen layers share what these make of the texts.

    Args:
        limit_bytes: of all that is kept; a set that does not fit is not kept.
    """

    limit_bytes: int
    held_bytes: int = field(default=0, repr=False)
    _sets: dict[tuple[int, str, bytes], Hidden] = field(default_factory=dict, repr=False)
    _sources: dict[int, _Source] = field(default_factory=dict, repr=False)

    def forget_unless(self, first: int, below: tuple[nn.Parameter, ...]) -> None:
        """Drops what was computed below layer `first` by parameters of other values."""
        source = self._sources.get(first)
        if source is not None and source.is_still(below):
            return
        digest = _digest_of_values(below)
        if source is not None and source.digest != digest:
            for key in [key for key in self._sets if key[0] == first]:
                self.held_bytes -= _bytes(self._sets.pop(key))
        self._sources[first] = _Source(below=below, versions=_versions(below), digest=digest)

    def get(self, key: tuple[int, str, bytes]) -> Hidden | None:
        """What was kept under (layer, precision, digest of the set)."""
        return self._sets.get(key)

    def has_room(self, count_bytes: int) -> bool:
        """Whether as much may be kept."""
        return self.held_bytes + count_bytes <= self.limit_bytes

    def put(self, key: tuple[int, str, bytes], values: Hidden) -> None:
        """Keeps the values of a set."""
        self.held_bytes += _bytes(values)
        self._sets[key] = values


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LowerLayers:
    """The layers below `first`, and the store of what comes out of them.

    Guarantee: hidden states are a function of their own set of examples alone, so that a resumed run finds the same
        bits; where a parameter below gets another value (its version counter moves), the store is emptied.
    Does not cover: values that are changed behind autograd's back (`parameter.data`); the rounding of one example
        beside others, which is that of physical batches.

    Args:
        owner, attribute: of the list of layers, found by `find_layers`.
        first: the lowest layer that trains, ≥ 1.
        below: every parameter that the hidden states depend on.
        store: shared by all users of the model.
    """

    owner: nn.Module = field(repr=False)
    attribute: str
    first: int
    below: tuple[nn.Parameter, ...] = field(repr=False)
    store: ActivationStore = field(repr=False)

    @torch.no_grad()
    def prepare(
        self, model: nn.Module, examples: Examples, *, autocast: Autocast, precision: str, device: torch.device
    ) -> Hidden | None:
        """The hidden states of all examples, kept or computed now; None where they would not fit.

        Args:
            model: adapted, in evaluation mode.
            examples: one party's.
            autocast: the precision of the forward pass, of that name.
            precision: "fp32" or "bf16".
            device: the model's.
        """
        self.store.forget_unless(self.first, self.below)
        key = (self.first, precision, _digest(examples))
        found = self.store.get(key)
        config: Any = model.config
        needed = FP32_BYTES * config.hidden_size * sum(len(ids) for ids in examples.token_ids)
        if found is not None or not len(examples) or not self.store.has_room(needed):
            return found
        by_length = np.argsort([len(ids) for ids in examples.token_ids], kind="stable")
        rows: dict[int, Tensor] = {}
        for batch in physical_batches(examples, by_length, batch_size=BLOCK, device=device):
            chosen = by_length[len(rows) : len(rows) + len(batch)]
            hidden = self._leave(model, batch, autocast)
            rows |= {
                i: row[: len(examples.token_ids[i])].clone() for i, row in zip(chosen.tolist(), hidden, strict=True)
            }
        self.store.put(key, tuple(rows[index] for index in range(len(examples))))
        return self.store.get(key)

    def run_above(self, model: nn.Module, batch: Batch) -> Any:
        """What the model returns for a batch, with `batch.hidden` in place of what the lower layers would compute."""
        upper = self._all[self.first :]

        def enter(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (batch.hidden, *inputs[1:])

        handle = upper[0].register_forward_pre_hook(enter)
        try:
            with self._only(upper):
                return model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        finally:
            handle.remove()

    def _leave(self, model: nn.Module, batch: Batch, autocast: Autocast) -> Tensor:
        """The hidden states of a batch, shape (batch, length, width)."""
        lower = self._all[: self.first]
        seen: list[Tensor] = []

        def leave(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            seen.append(output if isinstance(output, Tensor) else output[0])

        handle = lower[-1].register_forward_hook(leave)
        try:
            with self._only(lower), autocast():
                model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        finally:
            handle.remove()
        return seen[0]

    @property
    def _all(self) -> nn.ModuleList:
        layers: nn.ModuleList = getattr(self.owner, self.attribute)
        return layers

    @contextmanager
    def _only(self, layers: nn.ModuleList) -> Iterator[None]:
        """The model with some of its layers, for one forward pass."""
        everything = self._all
        setattr(self.owner, self.attribute, layers)
        try:
            yield
        finally:
            setattr(self.owner, self.attribute, everything)


def find_layers(model: nn.Module) -> tuple[nn.Module, str] | None:
    """The module that owns the encoder's list of layers, and its attribute; None for models that are not known."""
    config: Any = model.config
    ending = LAYERS.get(config.model_type)
    lists = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    found = [name for name in lists if ending is not None and name.endswith(ending)]
    if len(found) != 1:
        return None
    owner, _, attribute = found[0].rpartition(".")
    return model.get_submodule(owner), attribute


def lowest_layer(model: nn.Module, trained: Mapping[str, nn.Parameter]) -> int:
    """The lowest layer that holds one of the parameters `trained`; 0 where one of them enters below all layers.

    Args:
        model: adapted.
        trained: by name in the model or in the adapter's file.
    """
    place = find_layers(model)
    if place is None:
        return 0
    layers = getattr(*place)
    where = {parameter: index for index, layer in enumerate(layers) for parameter in layer.parameters()}
    inside = [where[parameter] for parameter in trained.values() if parameter in where]
    outside = [name for name, parameter in trained.items() if parameter not in where]
    if any(not set(name.split(".")) & set(ABOVE) for name in outside):
        return 0
    return min(inside, default=len(layers) - 1)


def lower_layers(
    model: nn.Module, trained: Mapping[str, nn.Parameter], *, store: ActivationStore
) -> LowerLayers | None:
    """The frozen layers below `trained`; None where there are none or nothing may be kept.

    Args:
        model: adapted, in evaluation mode.
        trained: the parameters that may change, by name.
        store: where hidden states are kept.
    """
    place, first = find_layers(model), lowest_layer(model, trained)
    if place is None or first == 0 or store.limit_bytes == 0:
        return None
    owner, attribute = place
    upper = {parameter for layer in getattr(owner, attribute)[first:] for parameter in layer.parameters()}
    below = tuple(
        parameter
        for name, parameter in model.named_parameters()
        if parameter not in upper and not set(name.split(".")) & set(ABOVE)
    )
    return LowerLayers(owner=owner, attribute=attribute, first=first, below=below, store=store)


def _digest(examples: Examples) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for ids in examples.token_ids:
        digest.update(np.array([len(ids), *ids], dtype="<i8").tobytes())
    return digest.digest()


def _versions(below: tuple[nn.Parameter, ...]) -> tuple[int, ...]:
    return tuple(parameter._version for parameter in below)


def _digest_of_values(below: tuple[nn.Parameter, ...]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for parameter in below:
        digest.update(repr((tuple(parameter.shape), parameter.dtype)).encode())
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.digest()


def _bytes(values: Hidden) -> int:
    return sum(value.nbytes for value in values)
