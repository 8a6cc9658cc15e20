"""How much a part of the module is expected to matter: a documented prior, from public facts alone.

Nothing here is measured on anybody's data. Upper layers count for more: layer l of L weighs l / L. The s-th slot of a
factor pair carries a share of its module's signal that falls as 1 / s²; under DP each slot also carries noise on every
coordinate that it has, and a slot that is expected to bring more noise than signal counts against the module, so that
the best rank falls as σ grows.
"""

import math

from fedpeft_secure.allocation.shapes import Linear, ModelShape

SLOT_SHARE = 6 / math.pi**2
"""Of the first slot, so that all slots together have 1."""


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


def importance(shape: ModelShape, *, layers: int, targets: tuple[str, ...], rank: int, noise: float) -> float:
    """The expected importance of training `rank` slots of `targets` in the top `layers` layers.

    Args:
        shape: of the model.
        layers: from the output.
        targets: modules with factors.
        rank: of the factors.
        noise: of one slot, by `slot_noise`.
    """
    depth = sum(layer / shape.layers for layer in range(shape.layers - layers + 1, shape.layers + 1))
    slots = sum(SLOT_SHARE / slot**2 - noise for slot in range(1, rank + 1))
    return depth * len(shape.adapted(targets)) * slots
