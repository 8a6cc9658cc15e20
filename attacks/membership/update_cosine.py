"""Membership from directions: does the message point where this example's own gradient points?

Most of the cosine is the shared direction of the example's class, which noise does not hide: read it beside a null
control of non-members of the same class.
"""

from dataclasses import dataclass, field

import numpy as np

import dp.sgd
from attacks.base import Floats, Granularity, View
from attacks.membership.scoring import MembershipGuess
from fedpeft_secure import methods
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UpdateCosineMembership:
    """Scores an example by the cosine of its descent direction with the observed change.

    Args:
        backbone: the public model.
        candidates: the examples whose membership is asked.
        needs: works on sums.
    """

    backbone: Backbone = field(repr=False)
    candidates: Examples = field(repr=False)
    needs: Granularity = Granularity.SUM

    def run(self, view: View, *, rng: np.random.Generator) -> MembershipGuess:
        """One gradient an example, at the adapter that was sent out."""
        del rng  # nothing is drawn
        directions = -gradients(self.backbone, view.before, self.candidates, view.trained)
        lengths = np.linalg.norm(directions, axis=1) * np.linalg.norm(view.observed)
        return MembershipGuess(scores=directions @ view.observed / np.maximum(lengths, 1e-30))


def gradients(backbone: Backbone, state: AdapterState, examples: Examples, trained: AdapterSpec) -> Floats:
    """Every example's own gradient at `state`, shape (n, trained.size), in the canonical order."""
    backbone.load(state)
    methods.train_only(backbone.model, trained)
    rows = []
    for index in range(len(examples)):
        batches = backbone.batches(examples, np.array([index]), batch_size=1)
        summed = dp.sgd.plain_sum(backbone.per_example, batches, backbone.losses).sums
        named = {methods.public_name(name): value for name, value in summed.items()}
        rows.append(np.concatenate([named[entry.name].cpu().numpy().reshape(-1) for entry in trained.entries]))
    return np.stack(rows).astype(np.float64)
