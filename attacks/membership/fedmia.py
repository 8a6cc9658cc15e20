"""FedMIA: the other clients' messages stand for models that never saw the example; over rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from attacks.base import Floats, Granularity, View, refuse_weaker
from attacks.errors import AttackError
from attacks.membership.loss import Apply
from attacks.membership.scoring import MembershipGuess
from attacks.membership.shadow_attacks import revealed_scores
from attacks.membership.statistics import fedmia_scores
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FedMia:
    """A likelihood-ratio test of one client against all others.

    Args:
        backbone: the public model.
        candidates: the examples whose membership is asked.
        apply: the server's step, by which a message becomes a model.
        target: the client that they may be members of.
        needs: individual updates; under a secure sum there is nobody to compare.
    """

    backbone: Backbone = field(repr=False)
    candidates: Examples = field(repr=False)
    apply: Apply = field(repr=False)
    target: str
    needs: Granularity = Granularity.INDIVIDUAL

    def run_rounds(self, rounds: Sequence[Mapping[str, View]]) -> MembershipGuess:
        """Scores every candidate.

        Args: rounds: {client: the view of its message} for each round.
        Raises: ViewTooWeakError for a view of a sum; AttackError where the target took no part.
        """
        mine, others = [], []
        for views in rounds:
            if self.target not in views:
                raise AttackError(f"{self.target} took no part in one of the rounds; leave it out")
            for view in views.values():
                refuse_weaker(self, view)
            mine.append(self._scores(views[self.target]))
            others.append(np.stack([self._scores(view) for name, view in views.items() if name != self.target]))
        return MembershipGuess(scores=fedmia_scores(np.stack(mine), others))

    def run(self, view: View, *, rng: np.random.Generator) -> MembershipGuess:
        """Refuses: one message alone has no law to be compared with.

        Raises: AttackError.
        """
        del rng
        refuse_weaker(self, view)
        raise AttackError("FedMIA compares the messages of several clients; give all of a round to run_rounds")

    def _scores(self, view: View) -> Floats:
        after = self.apply(view.before, view.observed)
        return revealed_scores(self.backbone, after, self.candidates)
