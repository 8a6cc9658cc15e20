"""How much a part of the module is expected to matter: by a documented prior, or as measured on the clients' data.

By the prior upper layers count for more: layer l of L weighs l / L. Measured weights (`fedpeft characteristics`) stand
in its place. The s-th slot of a factor pair carries a share of its module's signal that falls as 1 / s²; under DP each
slot also carries noise on every coordinate that it has, and a slot that is expected to bring more noise than signal
counts against the module, so that the best rank falls as σ grows.
"""

import math
from dataclasses import dataclass

from fedpeft_secure.allocation.shapes import Linear, ModelShape
from fedpeft_secure.config import MeasuredImportance

SLOT_SHARE = 6 / math.pi**2
"""Of the first slot, so that all slots together have 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """How much each adapted module of each layer counts; only the proportions say anything.

    Args:
        targets: names of the modules.
        rows: one a layer, from the input to the output; in each one weight a target.
    """

    targets: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]

    def total(self, *, layers: int, targets: tuple[str, ...]) -> float:
        """Of `targets` in the top `layers` layers."""
        columns = [self.targets.index(target) for target in targets]
        return sum(row[column] for row in self.rows[-layers:] for column in columns)


def prior(shape: ModelShape, targets: tuple[str, ...]) -> Weights:
    """Weights from the model's shape alone: l / L for every linear layer that a target names."""
    counted = [len(shape.adapted((target,))) for target in targets]
    depths = [layer / shape.layers for layer in range(1, shape.layers + 1)]
    return Weights(targets=targets, rows=tuple(tuple(depth * count for count in counted) for depth in depths))


def measured(found: MeasuredImportance, shape: ModelShape) -> Weights:
    """Weights as they were measured, as large together as those of the prior for the same modules."""
    assumed = prior(shape, found.targets).total(layers=len(found.weights), targets=found.targets)
    scale = assumed / sum(map(sum, found.weights))
    return Weights(targets=found.targets, rows=tuple(tuple(scale * value for value in row) for row in found.weights))


def slot_noise(linear: Linear, *, trains_a: bool, noise_multiplier: float, nominal_batch: float, cohort: int) -> float:
    """Expected squared norm of the noise in one slot of the mean update, in units of the clip norm squared.

    Args:
        linear: the adapted layer.
        trains_a: whether both factors train, or B alone.
        noise_multiplier: σ of the client; 0 without privacy.
        nominal_batch: the public divisor of its sums.
        cohort: clients whose noises are averaged.
    """
    values = linear.outputs + linear.inputs * trains_a
    return values * (noise_multiplier / nominal_batch) ** 2 / cohort


def importance(weights: Weights, *, layers: int, targets: tuple[str, ...], rank: int, noise: float) -> float:
    """The expected importance of training `rank` slots of `targets` in the top `layers` layers.

    Args:
        weights: of the layers and targets.
        layers: from the output.
        targets: modules with factors.
        rank: of the factors.
        noise: of one slot, by `slot_noise`.
    """
    return weights.total(layers=layers, targets=targets) * sum(
        SLOT_SHARE / slot**2 - noise for slot in range(1, rank + 1)
    )
