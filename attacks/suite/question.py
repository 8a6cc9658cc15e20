"""What an attacker is asked about one message, and what it may do to answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from attacks.base import View
from attacks.suite.case import Case
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation import Received
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.plans import RoundPlan


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Question:
    """What an attacker is asked about one message.

    Args:
        case: the run; the attacks read its public parts.
        view: the message.
        candidates: texts whose membership is asked.
        public: texts known not to be members, others than those.
        beside: the messages of other clients in the same round, where the adversary reads single ones.
    """

    case: Case = field(repr=False)
    view: View = field(repr=False)
    candidates: LabelledTexts = field(repr=False)
    public: LabelledTexts = field(repr=False)
    beside: Mapping[str, View] = field(default_factory=dict, repr=False)

    def tokenise(self, texts: LabelledTexts) -> Examples:
        """Texts as the clients see theirs."""
        return self.case.federation.tokenise(texts)

    def apply(self, before: AdapterState, observed: np.ndarray) -> AdapterState:
        """See `server_step`."""
        return server_step(self.case, self.view.plan, before, observed)


def server_step(case: Case, plan: RoundPlan, before: AdapterState, observed: np.ndarray) -> AdapterState:
    """The model that the server makes of an observed mean, with an optimiser that remembers nothing else."""
    federation = case.federation
    context = RoundContext(plan=plan, spec=federation.backbone.spec, state=before)
    someone = plan.cohort[0]
    received = Received(means=(observed,), survivors=(someone,), individual={someone: (observed, 1.0)})
    after, _ = federation.strategy.apply(received, context, federation.optimizer)
    return after
