"""Training without a server: all examples in one place, or each client by itself. Nothing leaves, nothing is noised."""

import math

import numpy as np

import dp.sgd
from fedpeft_secure import methods
from fedpeft_secure.adapters import AdapterState, flatten, unflatten
from fedpeft_secure.aggregation import ServerOptimizer, server_optimizer
from fedpeft_secure.aggregation.server_optimizers import FedAdamW
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples, physical_batches
from fedpeft_secure.config import TrainingConfig

CENTRAL_BATCH = 32
"""Examples in a step of the centralised baseline; its number of steps follows from equal examples."""


def centralised_steps(training: TrainingConfig, *, per_round: int) -> int:
    """Steps of `CENTRAL_BATCH` that see as many examples as all clients of all rounds together."""
    return math.ceil(local_steps(training) * per_round * training.nominal_batch / CENTRAL_BATCH)


def local_steps(training: TrainingConfig) -> int:
    """Steps that a client takes in a run that it always takes part in."""
    return training.rounds * training.local_steps


def fit(
    backbone: Backbone,
    state: AdapterState,
    examples: Examples,
    *,
    steps: int,
    batch: int,
    training: TrainingConfig,
    rng: np.random.Generator,
) -> AdapterState:
    """Ordinary training on one set of examples, reshuffled in every epoch.

    Args:
        backbone: the model; every tensor of its adapter is trained.
        state: where to start.
        examples: at least one.
        steps, batch: how many, and of how many examples.
        training: the optimiser is the clients' where that is AdamW, else the server's.
        rng: shuffles.
    """
    spec = backbone.spec
    optimizer = _optimizer(training, backbone)
    values, queue = flatten(state, spec), np.array([], dtype=np.int64)
    backbone.load(state)
    methods.train_only(backbone.model, spec)
    for _ in range(steps):
        while len(queue) < min(batch, len(examples)):
            queue = np.concatenate([queue, rng.permutation(len(examples))])
        chosen, queue = queue[:batch], queue[batch:]
        summed = dp.sgd.plain_sum(
            backbone.per_example,
            physical_batches(examples, chosen, batch_size=training.physical_batch, device=backbone.device),
            backbone.losses,
        )
        mean = {methods.public_name(name): value / len(chosen) for name, value in summed.sums.items()}
        gradient = np.concatenate([mean[entry.name].cpu().numpy().reshape(-1) for entry in spec.entries])
        values, optimizer = optimizer.step(values, -gradient)
        backbone.load(AdapterState(unflatten(values.astype(np.float32), spec)))
    return AdapterState(unflatten(values.astype(np.float32), spec))


def _optimizer(training: TrainingConfig, backbone: Backbone) -> ServerOptimizer:
    if training.optimizer == "adamw":
        return FedAdamW(learning_rate=training.learning_rate, weight_decay=0.0)
    constant = training.model_copy(update={"server_schedule": "constant"})
    return server_optimizer(constant, backbone.spec, private=False)
