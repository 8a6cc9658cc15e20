"""Gradient canaries: examples whose gradient is one chosen coordinate, put through a client's own local training.

Shape suffixes: B examples of a physical batch, I and O the widths of a linear layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from fedpeft_secure import methods
from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.allocation.allotment import Allotment, first_slots
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Batch, Examples
from fedpeft_secure.errors import ConfigError

OVERSIZE = 8.0
"""A canary's gradient norm before clipping, in clip norms: a mechanism that does not clip shows."""

WEIGHT, BIAS = "weight", "bias"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Canaries:
    """Gradients that are zero but for one coordinate each, all different.

    Args:
        coordinates: of the sent vector, shape (m,).
        included: the coins, shape (m,), bool: tossed once, before any sampling.
        silent: coordinates that the client moves by noise alone, all different from those.
        gradient_norm: the L2 norm of each before clipping.
    """

    coordinates: np.ndarray = field(repr=False)
    included: np.ndarray = field(repr=False)
    silent: np.ndarray = field(repr=False)
    gradient_norm: float

    def __len__(self) -> int:
        return self.coordinates.size

    def examples(self, *, group: int | None = None) -> Examples:
        """The included canaries as a client's examples: the only "token" is the canary's index.

        Args: group: of budgets that all of them are in; None where examples have none.
        """
        chosen = np.flatnonzero(self.included)
        return Examples(
            token_ids=tuple([int(index)] for index in chosen),
            labels=np.zeros(chosen.size, dtype=np.int64),
            padding_id=0,
            groups=None if group is None else np.full(chosen.size, group),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Place:
    """A trained tensor: where it starts in the sent vector, and which part of which layer it is."""

    start: int
    name: str
    layer: nn.Module = field(repr=False)
    part: str
    parameter: nn.Parameter = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CanaryBackbone(Backbone):
    """The client's model, hooks, clipping and precision, with canaries in place of texts: no forward pass is needed.

    Where every trained layer is linear, a canary is an input and a direction of the output at its layer, so that its
    gradient takes the client's own way through the hooks. Elsewhere it is a linear function of the parameters, in
    batches of one.

    Args: canaries: the planted ones. places: the trained tensors in canonical order.
    """

    canaries: Canaries
    places: tuple[Place, ...] = field(repr=False)

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """One value for each canary, whose gradient is the canary."""
        del model  # the layers are known
        coordinates_B = self.canaries.coordinates[batch.input_ids[:, 0].cpu().numpy()]
        size = self.canaries.gradient_norm
        if all(isinstance(place.layer, nn.Linear) for place in self.places):
            return size * self._through_layers(coordinates_B)
        return size * self._of_parameters(coordinates_B)

    def _through_layers(self, coordinates_B: np.ndarray) -> Tensor:
        total_B = torch.zeros(len(coordinates_B), device=self.device)
        for layer, parts in _by_layer(self.places).items():
            inputs_BI = torch.zeros(len(coordinates_B), layer.in_features, device=self.device)
            outputs_BO = torch.zeros(len(coordinates_B), layer.out_features, device=self.device)
            for part, place in parts.items():
                inside_B = np.flatnonzero((coordinates_B >= place.start) & (coordinates_B < _end(place)))
                local_B = coordinates_B[inside_B] - place.start
                if part == BIAS:
                    outputs_BO[inside_B, local_B] = 1.0
                    continue
                outputs_BO[inside_B, local_B // layer.in_features] = 1.0
                inputs_BI[inside_B, local_B % layer.in_features] = 1.0
            total_B = total_B + (layer(inputs_BI[:, None]) * outputs_BO[:, None]).sum(dim=(1, 2))
        return total_B

    def _of_parameters(self, coordinates_B: np.ndarray) -> Tensor:
        values = []
        for coordinate in coordinates_B:
            place = next(place for place in self.places if place.start <= coordinate < _end(place))
            values.append(place.parameter.float().reshape(-1)[int(coordinate) - place.start])
        return torch.stack(values) if values else torch.zeros(0, device=self.device, requires_grad=True)


def plant(
    backbone: Backbone,
    trained: AdapterSpec,
    *,
    allotment: Allotment,
    count: int,
    clip_norm: float,
    rng: np.random.Generator,
) -> CanaryBackbone:
    """Chooses coordinates, tosses the coins and readies the model.

    Args:
        backbone: of the audited client.
        trained: what clients train and send.
        allotment: the part of it that the audited client changes.
        count: m, canaries on both sides together.
        clip_norm: of the audited client's examples.
        rng: of the choice and of the coins.

    Raises:
        ConfigError: If the update has too few coordinates.
    """
    part, masks = allotment.part_of(trained), first_slots(backbone.spec, allotment)
    methods.train_only(backbone.model, part)
    places = find_places(backbone.model, trained, part)
    linear = all(isinstance(place.layer, nn.Linear) for place in places)
    moved = np.concatenate([_moved(place, masks) for place in places])
    free = np.concatenate([_moved(place, masks) for place in places if not (linear and _moves_a_bias(place))])
    if not 2 <= count <= free.size:
        raise ConfigError(f"--canaries {count}: this adapter bears 2…{free.size} canaries; give another number")
    coordinates = rng.choice(free, count, replace=False)
    canaries = Canaries(
        coordinates=coordinates,
        included=rng.random(count) < 0.5,
        silent=np.setdiff1d(moved, coordinates),
        gradient_norm=OVERSIZE * clip_norm,
    )
    return CanaryBackbone(
        model=backbone.model,
        per_example=backbone.per_example
        if linear
        else backbone.per_example.in_microbatches("canaries of layers without a linear rule"),
        spec=backbone.spec,
        device=backbone.device,
        precision="fp32",
        canaries=canaries,
        places=places,
    )


def find_places(model: nn.Module, trained: AdapterSpec, part: AdapterSpec) -> tuple[Place, ...]:
    """Where each tensor of `part` lies in the vector of `trained` that is sent, and in the model."""
    parameters = methods.named_trainable(model)
    owners: Mapping[int, tuple[nn.Module, str]] = {
        id(parameter): (layer, part)
        for layer in model.modules()
        for part, parameter in layer.named_parameters(recurse=False)
    }
    found, start = [], 0
    for entry in trained.entries:
        if entry.name in part.names:
            parameter = parameters[entry.name]
            layer, own = owners[id(parameter)]
            found.append(Place(start=start, name=entry.name, layer=layer, part=own, parameter=parameter))
        start += entry.size
    return tuple(found)


def _by_layer(places: tuple[Place, ...]) -> dict[nn.Linear, dict[str, Place]]:
    layers: dict[nn.Linear, dict[str, Place]] = {}
    for place in places:
        if isinstance(place.layer, nn.Linear):
            layers.setdefault(place.layer, {})[place.part] = place
    return layers


def _end(place: Place) -> int:
    return place.start + place.parameter.numel()


def _moved(place: Place, masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Coordinates of the sent vector that the client may change."""
    whole = np.arange(place.start, _end(place))
    if place.name not in masks:
        return whole
    return whole[np.flatnonzero(np.broadcast_to(masks[place.name], tuple(place.parameter.shape)))]


def _moves_a_bias(place: Place) -> bool:
    """A gradient of this weight comes with one of the layer's bias: not one coordinate."""
    bias = getattr(place.layer, BIAS, None)
    return place.part == WEIGHT and bias is not None and bias.requires_grad
