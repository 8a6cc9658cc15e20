"""Shadow adapters: the attacked round, played again by the attacker on the same frozen model with examples it knows."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from attacks.base import Floats
from attacks.errors import AttackError
from attacks.membership.statistics import confidence_scores
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.server.evaluation import predict

Train = Callable[[Examples, np.random.Generator], AdapterState]
"""(a batch, randomness) → the adapter after the public step of the round on this batch."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shadows:
    """What the attacker knows of its own models.

    Args:
        scores: φ of every candidate, shape (models, n).
        inside: which shadow trained on which candidate, shape (models, n), bool.
    """

    scores: Floats = field(repr=False)
    inside: np.ndarray = field(repr=False)

    @property
    def probabilities(self) -> Floats:
        """p of the true class: φ is its logit."""
        return np.asarray(1 / (1 + np.exp(-self.scores)))


def train_shadows(
    backbone: Backbone,
    candidates: Examples,
    train: Train,
    *,
    models: int,
    batch: int,
    rng: np.random.Generator,
) -> Shadows:
    """Trains shadows on draws from the candidates.

    Every candidate is in as many batches as any other, up to one, so that both sides of `lira` have models.

    Args:
        backbone: the public model; frozen layers are shared, an adapter costs kilobytes.
        candidates: the attacker's examples, whose membership it asks about.
        train: the round's public step.
        models: how many shadows.
        batch: examples in each, at most half of the candidates.
        rng: of the batches and of the training.

    Raises:
        AttackError: If there are too few candidates or models.
    """
    count = len(candidates)
    if models < 4 or not 1 <= batch <= count // 2:
        raise AttackError(f"shadows need 4 models at least, and batches of at most half of the {count} candidates")
    inside = np.zeros((models, count), dtype=bool)
    for model in range(models):
        seldom_first = np.argsort(inside.sum(axis=0) + rng.random(count))
        inside[model, seldom_first[:batch]] = True
    scores = []
    for seen in inside:
        chosen = np.flatnonzero(seen)
        after = predict(backbone, train(_take(candidates, chosen), rng), candidates)
        scores.append(confidence_scores(after.logits, after.labels))
    return Shadows(scores=np.stack(scores), inside=inside)


def _take(examples: Examples, indices: np.ndarray) -> Examples:
    return Examples(
        token_ids=tuple(examples.token_ids[index] for index in indices),
        labels=examples.labels[indices],
        padding_id=examples.padding_id,
    )
