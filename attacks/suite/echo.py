"""What a known batch alone would send: the client's own step, played by whoever has the model."""

import numpy as np

import dp.noise
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


def message_of(case: Case, view: View, batch: Examples, *, rng: np.random.Generator, bound: bool) -> Floats:
    """The noise-free message of one client with exactly this batch, shape (trained.size,)."""
    plan = view.plan.model_copy(update=ALWAYS)
    federation = case.federation
    task = LocalTask(
        plan=plan,
        trained=view.trained,
        noise_multiplier=0.0,
        sampling=dp.sampling.SeededPoisson(rng),
        noise=dp.noise.SeededGaussian(rng),
        physical_batch=federation.config.training.physical_batch,
        bound_gradients="clip_norm" if bound else "nothing",
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
            rows.append(message_of(case, view, batch, rng=case.rng("echo"), bound=False))
        return np.stack(rows)

    return echo
