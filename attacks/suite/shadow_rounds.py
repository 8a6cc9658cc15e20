"""The attacked round, played by the attacker on texts that it knows."""

import numpy as np

from attacks.membership.shadows import Shadows, train_shadows
from attacks.suite.echo import Clipped, message_of
from attacks.suite.question import Question
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.batches import Examples

SHADOWS = 16
"""Shadow adapters a message."""

SHADOW_BATCH = 16
"""Examples in a shadow's batch at most; the nominal batch where that is smaller."""

OTHERS = 6
"""Messages on public texts, of which each shadow draws its other clients'."""


def shadows_of(question: Question, candidates: Examples) -> Shadows:
    """Shadows of the attacked message: the round's step on a known batch, clipped, scaled and noised as the message is.

    Where the message is a sum, known batches of public texts stand for the other clients, whose texts nobody knows.
    """
    case, view = question.case, question.view
    rng = case.rng("membership", "shadows", *view.contributors)
    batch = min(SHADOW_BATCH, max(1, round(expected_batch(question))), len(candidates) // 2)
    clients, known = len(view.contributors), len(question.public)
    others = [
        shadow_message(question, question.tokenise(question.public.take(rng.permutation(known)[:batch])), rng)
        for _ in range(OTHERS if clients > 1 and known else 0)
    ]

    def train(batch: Examples, rng: np.random.Generator) -> AdapterState:
        beside = [others[draw] for draw in rng.integers(OTHERS, size=clients - 1)] if others else []
        vector = sum(beside, shadow_message(question, batch, rng)) / clients
        return question.apply(view.before, vector + view.noise_stddev * rng.normal(size=vector.shape))

    return train_shadows(case.federation.backbone, candidates, train, models=SHADOWS, batch=batch, rng=rng)


def shadow_message(question: Question, batch: Examples, rng: np.random.Generator) -> np.ndarray:
    """What a client with this batch would send before noise, each example at the weight that the plan gives it."""
    private = question.view.plan.private
    clipped: Clipped = "examples" if private else "mean"
    vector = message_of(question.case, question.view, batch, rng=rng, clipped=clipped)
    return vector if private else vector * min(1.0, len(batch) / expected_batch(question))


def expected_batch(question: Question) -> float:
    """How many examples a client's step has, as far as the public knows."""
    plan = question.view.plan
    return plan.nominal_batch if plan.private else question.case.federation.config.training.nominal_batch
