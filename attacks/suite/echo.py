"""What a known batch alone would send: the client's own step, played by whoever has the model."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

import dp.sampling
from attacks.base import Floats, View
from attacks.inversion.hidden import Sentence
from attacks.inversion.peeling import Echo
from attacks.suite.case import Case, text_frame
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.clients.training import LocalTask, train_locally

ALWAYS = {"sample_rate": 1.0, "groups": (), "own_terms": (), "proximal": 0.0}
"""What makes a plan's step one on a whole known batch."""


class Silence:
    """No noise, for steps that clip every example as noised ones do: who attacks adds what noise it expects."""

    label = "simulation"

    def draw(self, shape: Sequence[int], stddev: float) -> Tensor:
        """Zeros of this shape, float64."""
        del stddev
        return torch.zeros(tuple(shape), dtype=torch.float64)


Clipped = Literal["nothing", "mean", "examples"]
"""What is held to the clip norm: nothing, the mean gradient as clients without a budget do, or the gradient of every
example, over the nominal batch, as clients with one do."""


def message_of(case: Case, view: View, batch: Examples, *, rng: np.random.Generator, clipped: Clipped) -> Floats:
    """The noise-free message of one client with exactly this batch, shape (trained.size,).

    Args:
        case, view: whose public parts say what a step is.
        batch: its examples.
        rng: decides nothing on a whole batch.
        clipped: what is held to the clip norm.
    """
    plan = view.plan.model_copy(update=ALWAYS)
    federation = case.federation
    task = LocalTask(
        plan=plan,
        trained=view.trained,
        noise_multiplier=1.0 if clipped == "examples" else 0.0,
        sampling=dp.sampling.SeededPoisson(rng),
        noise=Silence(),
        physical_batch=federation.config.training.physical_batch,
        bound_gradients="clip_norm" if clipped == "mean" else "nothing",
    )
    update = train_locally(federation.backbone, view.before, batch, task)
    context = RoundContext(plan=plan, spec=federation.backbone.spec, state=view.before)
    layout = federation.strategy.layout(context, ())
    return np.asarray(federation.strategy.encode(update.delta, context, plan.cohort[0], layout))


def echo_of(case: Case) -> Echo | None:
    """What single sentences would send, where a message is a sum over them: after one step of SGD."""
    training = case.federation.config.training
    if training.local_steps > 1 or training.optimizer != "sgd":
        return None

    padding = text_frame(case).padding

    def echo(view: View, sentence: Sentence) -> Floats:
        rows = []
        for label in range(len(case.federation.data.classes)):
            batch = Examples(token_ids=(list(sentence),), labels=np.array([label]), padding_id=padding)
            rows.append(message_of(case, view, batch, rng=case.rng("echo"), clipped="nothing"))
        return np.stack(rows)

    return echo
