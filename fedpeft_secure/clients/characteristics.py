"""What a client says of its data once, for adaptive allocation: a bounded vector for each example, summed and noised.

An example's vector has two parts. The first, of length √¾, is the direction of (‖∂loss/∂B‖ by layer and target): how
the example's gradient is spread over the module, whatever its size. The second, of length ½, counts the example for its
label. So no vector is longer than 1, and no clip norm must be chosen.

At the start of a run B and the head are zero, and no gradient reaches a factor through a head of zeros. It is taken at
`probe` instead: B is zero, A is the run's own random start, and so is every matrix of the head that would be zero. What
is measured is thus the norm of the very gradient that B gets in a first step, from a head that has learnt nothing yet.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from dp.persample import refuse_batch_coupled
from fedpeft_secure import methods
from fedpeft_secure.adapters import AdapterSpec, AdapterState, Role
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.one_vector import VECTOR
from fedpeft_secure.allocation.allotment import layer_of, names_of
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Batch
from fedpeft_secure.clients.trainer import Trained, Trainer
from fedpeft_secure.clients.training import draw_sample
from fedpeft_secure.errors import ModelError
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.seeds import Seed

WITHIN = 1 - 1e-12
"""What rounding in double precision may add to a length of 1."""

GRADIENT_LENGTH, LABEL_LENGTH = WITHIN * math.sqrt(0.75), WITHIN * 0.5
"""Of the two parts of an example's vector: together 1."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cells:
    """The coordinates of a vector: one for each layer and target, then one for each class.

    Args:
        layers: tuned layers, counted from the input.
        targets: adapted modules.
        classes: of the task.
        spec: the factors B in these layers; a pooler's are not measured.
    """

    layers: tuple[int, ...]
    targets: tuple[str, ...]
    classes: int
    spec: AdapterSpec = field(repr=False)

    @classmethod
    def of(cls, spec: AdapterSpec, *, targets: tuple[str, ...], classes: int) -> "Cells":
        """Those of an adapter.

        Raises:
            ModelError: If it has no factors in numbered layers.
        """
        layer_by_factor = {entry: layer_of(entry) for entry in spec.only((Role.LORA_B,)).entries}
        factors = AdapterSpec(entries=tuple(entry for entry, layer in layer_by_factor.items() if layer is not None))
        layers = {layer for layer in layer_by_factor.values() if layer is not None}
        if not layers:
            raise ModelError(
                "allocation: this model has no factors in numbered layers, so that nothing can be measured"
            )
        return cls(layers=tuple(sorted(layers)), targets=targets, classes=classes, spec=factors)

    @property
    def modules(self) -> int:
        """How many coordinates say something of gradients."""
        return len(self.layers) * len(self.targets)

    @property
    def size(self) -> int:
        """How many coordinates there are."""
        return self.modules + self.classes

    @property
    def columns(self) -> Mapping[str, int]:
        """The coordinate of every factor; where a target names several modules of a layer, they share one."""
        found = {}
        for entry in self.spec.entries:
            layer, last = layer_of(entry), entry.module.rsplit(".", 1)[-1]
            target = next(index for index, name in enumerate(self.targets) if last in names_of(name))
            if layer is not None:
                found[entry.name] = self.layers.index(layer) * len(self.targets) + target
        return found


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measurer:
    """Lets simulated clients measure in place of training; an `Elsewhere`.

    Args:
        trainers: by client.
        cells: what they measure.
    """

    trainers: Mapping[str, Trainer] = field(repr=False)
    cells: Cells

    def begin(self, client: str, request: bytes) -> None:
        """Nothing is measured ahead."""

    def train(self, client: str, context: RoundContext) -> Trained:
        """The client's noised vector, in place of a change of the adapter."""
        started = time.perf_counter()
        trainer, plan = self.trainers[client], context.plan.for_client(client)
        chosen = draw_sample(trainer.examples, plan, trainer.randomness.sampling(plan))
        total = summed(trainer, context.state, chosen, self.cells)
        vector = noised(total, plan, trainer)
        return Trained(delta={VECTOR: vector}, examples=len(chosen), seconds=time.perf_counter() - started)


def probe(start: AdapterState, spec: AdapterSpec, seed: Seed) -> AdapterState:
    """The adapter at which gradients are measured: the start, with random values in a head that is zero."""
    drawn = {}
    for entry in spec.only((Role.HEAD,)).entries:
        if len(entry.shape) > 1 and not start[entry.name].any():
            values = seed.child("characteristics", entry.name).standard_normal(entry.shape)
            drawn[entry.name] = (values / math.sqrt(entry.shape[-1])).astype(np.float32)
    return start.replace(drawn)


def summed(trainer: Trainer, state: AdapterState, chosen: np.ndarray, cells: Cells) -> np.ndarray:
    """The sum of the vectors of the chosen examples, shape (cells.size,), float64; private.

    Guarantee: an example more or less moves it by at most 1 in L2 norm.
    Assumes: no example's loss depends on another, which was tried on public words when the model was loaded.
    Does not cover: rounding in fp32, where other texts are padded to another length beside the example.
    Raises: BatchCoupled, NotPerExample.
    """
    refuse_batch_coupled(trainer.backbone.model)
    # fp32: under bf16 the rounding would be a thousand times as large.
    backbone = replace(trainer.backbone, precision="fp32", lower=None)
    backbone.load(state)
    methods.train_only(backbone.model, cells.spec)
    total = np.zeros(cells.size)
    for batch in backbone.batches(trainer.examples, chosen, batch_size=trainer.physical_batch):
        total += example_vectors(backbone, batch, cells).sum(axis=0)
    return total


def example_vectors(backbone: Backbone, batch: Batch, cells: Cells) -> np.ndarray:
    """The vector of each example, shape (batch, cells.size), of L2 norm at most 1; zero for gradients not finite."""
    norms = backbone.per_example.strategy.parameter_norms(backbone.model, batch, backbone.losses)
    squares = np.zeros((len(batch), cells.modules))
    for name, column in {methods.public_name(name): name for name in norms}.items():
        squares[:, cells.columns[name]] += norms[column].square().cpu().numpy()
    lengths = np.sqrt(squares.sum(axis=1, keepdims=True))
    spread = np.sqrt(squares) / np.where(lengths > 0, lengths, 1.0)
    labels = np.eye(cells.classes)[batch.labels.cpu().numpy()]
    vectors = np.concatenate([GRADIENT_LENGTH * spread, LABEL_LENGTH * labels], axis=1)
    return np.where(np.isfinite(lengths), np.nan_to_num(vectors), 0.0)


def noised(total: np.ndarray, plan: RoundPlan, trainer: Trainer) -> np.ndarray:
    """What a client sends: its sum within a public length, with noise of its own, over that length.

    Guarantee: one step of the sampled Gaussian mechanism at the client's noise multiplier, whoever sees it: the
        projection onto a ball moves no two sums apart, and all that follows the noise is post-processing.
    """
    bound = plan.nominal_batch
    total = total * min(1.0, bound / max(float(np.linalg.norm(total)), 1e-300))
    stddev = trainer.budget.noise_multiplier * plan.clip_norm
    if stddev > 0:
        total = total + trainer.randomness.noise(plan).draw(total.shape, stddev).numpy()
    return np.clip(total / bound, -plan.codec_clip, plan.codec_clip)
