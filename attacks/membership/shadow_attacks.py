"""Attacks that compare the revealed model with shadow adapters, or with public examples.

All of them work on sums: the revealed model is what the server's public step makes of the observed mean.
"""

from dataclasses import dataclass, field

import numpy as np

from attacks.base import Floats, Granularity, View
from attacks.membership.loss import Apply
from attacks.membership.scoring import MembershipGuess
from attacks.membership.shadows import Shadows
from attacks.membership.statistics import Mode, confidence_scores, lira_scores, quantile_scores, rmia_scores
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.server.evaluation import predict


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LiraMembership:
    """LiRA with shadow adapters.

    Args:
        backbone: the public model.
        candidates: the examples whose membership is asked.
        apply: the server's step, by which a message becomes a model.
        shadows: of the same candidates, from the same adapter.
        mode: "online", or "offline" (one-sided), which never trained on a candidate that it asks about.
        needs: works on sums.
    """

    backbone: Backbone = field(repr=False)
    candidates: Examples = field(repr=False)
    apply: Apply = field(repr=False)
    shadows: Shadows = field(repr=False)
    mode: Mode = "online"
    needs: Granularity = Granularity.SUM

    def run(self, view: View, *, rng: np.random.Generator) -> MembershipGuess:
        """Scores every candidate."""
        del rng  # nothing is drawn
        found = revealed_scores(self.backbone, self.apply(view.before, view.observed), self.candidates)
        return MembershipGuess(scores=lira_scores(found, self.shadows.scores, self.shadows.inside, mode=self.mode))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RmiaMembership:
    """RMIA with the same shadow adapters.

    Args: as `LiraMembership`. population: indices of candidates that are known to be no members.
    """

    backbone: Backbone = field(repr=False)
    candidates: Examples = field(repr=False)
    apply: Apply = field(repr=False)
    shadows: Shadows = field(repr=False)
    population: np.ndarray = field(repr=False)
    mode: Mode = "online"
    needs: Granularity = Granularity.SUM

    def run(self, view: View, *, rng: np.random.Generator) -> MembershipGuess:
        """Scores every candidate."""
        del rng  # nothing is drawn
        found = revealed_scores(self.backbone, self.apply(view.before, view.observed), self.candidates)
        return MembershipGuess(
            scores=rmia_scores(
                1 / (1 + np.exp(-found)),
                self.shadows.probabilities,
                self.shadows.inside,
                population=self.population,
                mode=self.mode,
            )
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class QuantileMembership:
    """Quantile regression on public examples; no shadow is trained.

    Args: as `LiraMembership`. public: examples that are no members; others than the candidates.
    """

    backbone: Backbone = field(repr=False)
    candidates: Examples = field(repr=False)
    apply: Apply = field(repr=False)
    public: Examples = field(repr=False)
    needs: Granularity = Granularity.SUM

    def run(self, view: View, *, rng: np.random.Generator) -> MembershipGuess:
        """Scores every candidate."""
        del rng  # nothing is drawn
        after = self.apply(view.before, view.observed)
        return MembershipGuess(
            scores=quantile_scores(
                revealed_scores(self.backbone, after, self.candidates),
                self._features(view.before, self.candidates),
                public_scores=revealed_scores(self.backbone, after, self.public),
                public_features=self._features(view.before, self.public),
            )
        )

    def _features(self, before: AdapterState, examples: Examples) -> Floats:
        """What is known of an example without the attacked round: its score before, its class and its length."""
        lengths = [len(ids) for ids in examples.token_ids]
        return np.stack([revealed_scores(self.backbone, before, examples), examples.labels, np.log(lengths)], axis=1)


def revealed_scores(backbone: Backbone, state: AdapterState, examples: Examples) -> Floats:
    """φ of every example under an adapter."""
    found = predict(backbone, state, examples)
    return confidence_scores(found.logits, found.labels)
