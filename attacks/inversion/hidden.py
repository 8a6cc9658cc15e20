"""What a candidate sentence would give to a later layer: the adversary has the model and runs it.

The first layer's input is a token's own, so that its row space tells tokens and no more. A later layer's input depends
on the whole sentence (in a decoder: on all that stands before), so that its row space tells which tokens belong
together. Source: the second-layer check of DAGER (Petrov et al. 2024, section 5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from attacks.base import Floats
from attacks.errors import NotApplicableError
from attacks.inversion.factors import layer_of
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.backbone import Backbone

Sentence = tuple[int, ...]

AT_ONCE = 256
"""Sentences of one forward pass."""


Run = Callable[[Sequence[Sentence]], dict[int, Floats]]
"""Sentences → the inputs of some layers, the tokens of all sentences one after the other, shape (tokens, n) a layer."""


class Forward(Protocol):
    """The model that everybody has."""

    def reading(self, before: AdapterState, layers: Sequence[int]) -> Run:
        """Runs sentences with the adapter that was sent out, up to the last of `layers`."""
        ...


class _ReachedError(Exception):
    """Ends a forward pass at the last wanted layer."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BackboneForward:
    """Runs the adapted model itself, in the arithmetic of its clients.

    Args:
        backbone: the model.
        padding: the token that fills up shorter sentences.
    """

    backbone: Backbone = field(repr=False)
    padding: int

    def reading(self, before: AdapterState, layers: Sequence[int]) -> Run:
        """See `Forward`; the model holds `before` from now on."""
        self.backbone.load(before)
        readers = {layer: _reader(self.backbone.model, layer) for layer in layers}

        def run(sentences: Sequence[Sentence]) -> dict[int, Floats]:
            parts = [self._run(sentences[i : i + AT_ONCE], readers) for i in range(0, len(sentences), AT_ONCE)]
            return {layer: np.concatenate([part[layer] for part in parts]) for layer in layers}

        return run

    def _run(self, sentences: Sequence[Sentence], readers: dict[int, nn.Module]) -> dict[int, Floats]:
        longest = max(map(len, sentences))
        ids = torch.tensor([[*row, *[self.padding] * (longest - len(row))] for row in sentences])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in sentences])
        seen: dict[int, Tensor] = {}
        handles = [
            module.register_forward_pre_hook(_keep(seen, layer, last=layer == max(readers)))
            for layer, module in readers.items()
        ]
        device = self.backbone.device
        try:
            with torch.no_grad(), self.backbone.autocast():
                self.backbone.model(input_ids=ids.to(device), attention_mask=mask.to(device), **self._asked(len(ids)))
        except _ReachedError:
            pass
        finally:
            for handle in handles:
                handle.remove()
        real = mask.bool()
        return {layer: hidden[:, :longest].float().cpu()[real].double().numpy() for layer, hidden in seen.items()}

    def _asked(self, sentences: int) -> dict[str, Tensor]:
        """One answer a sentence of a model that answers in words: a decoder's stands behind it, where nobody looks."""
        if self.backbone.answers == "classes":
            return {}
        return {"labels": torch.zeros(sentences, dtype=torch.long, device=self.backbone.device)}


def _keep(seen: dict[int, Tensor], layer: int, *, last: bool) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen[layer] = given[0]
        if last:
            raise _ReachedError

    return keep


def _reader(model: nn.Module, layer: int) -> nn.Module:
    """A module that is given the layer's input as it is."""
    for name, module in model.named_modules():
        if layer_of(name) == layer:
            return module
    raise NotApplicableError(f"span inversion finds no attention in layer {layer} of this model")
