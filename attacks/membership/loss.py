"""Membership from losses: an example that was trained on is easier for the model that the messages reveal.

Source: Yeom et al. 2018 (loss attack); Watson et al. 2022, *On the Importance of Difficulty Calibration in Membership
Inference Attacks* (loss relative to a reference), with the adapter that was sent out as the reference.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from attacks.base import Granularity, View
from attacks.membership.scoring import MembershipGuess
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.server.evaluation import predict

Apply = Callable[[AdapterState, np.ndarray], AdapterState]
"""(adapter before, observed mean) → adapter after: the server's public step."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LossMembership:
    """Scores an example by how well the revealed model knows it: −loss.

    Args:
        backbone: the public model.
        candidates: the examples whose membership is asked.
        apply: the server's step, by which a message becomes a model.
        needs: works on sums.
    """

    backbone: Backbone = field(repr=False)
    candidates: Examples = field(repr=False)
    apply: Apply = field(repr=False)
    needs: Granularity = Granularity.SUM

    def run(self, view: View, *, rng: np.random.Generator) -> MembershipGuess:
        """Evaluates the candidates on the model that the view reveals."""
        del rng  # nothing is drawn
        after = self.apply(view.before, view.observed)
        return MembershipGuess(scores=-predict(self.backbone, after, self.candidates).losses.astype(np.float64))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CalibratedMembership:
    """Scores an example by what the round did to its loss: loss before − loss after.

    Args: as `LossMembership`.
    """

    backbone: Backbone = field(repr=False)
    candidates: Examples = field(repr=False)
    apply: Apply = field(repr=False)
    needs: Granularity = Granularity.SUM

    def run(self, view: View, *, rng: np.random.Generator) -> MembershipGuess:
        """Evaluates the candidates on the model that was sent out and on the one that the view reveals."""
        plain = LossMembership(backbone=self.backbone, candidates=self.candidates, apply=self.apply)
        reference = predict(self.backbone, view.before, self.candidates).losses
        return MembershipGuess(scores=plain.run(view, rng=rng).scores + reference)
