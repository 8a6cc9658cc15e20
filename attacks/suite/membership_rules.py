"""The membership attacks that a run can play, by the name in `attacks.run`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from attacks.base import Attack, View, refuse_weaker
from attacks.errors import NotApplicableError
from attacks.membership.fedmia import FedMia
from attacks.membership.loss import CalibratedMembership
from attacks.membership.min_k import MinKMembership
from attacks.membership.scoring import MembershipGuess
from attacks.membership.shadow_attacks import LiraMembership, QuantileMembership, RmiaMembership
from attacks.membership.shadows import Shadows, train_shadows
from attacks.membership.statistics import Mode
from attacks.membership.update_cosine import UpdateCosineMembership
from attacks.suite.case import Case
from attacks.suite.echo import message_of
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation import Received
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.plans import RoundPlan

SHADOWS = 16
"""Shadow adapters a message."""

SHADOW_BATCH = 16
"""Examples in a shadow's batch at most; the nominal batch where that is smaller."""

OTHERS = 6
"""Messages on public texts, of which each shadow draws its other clients'."""

POPULATION = 48
"""Public texts beside the candidates, for attacks that compare with texts known not to be members."""


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


Rule = Callable[[Question], MembershipGuess]


def server_step(case: Case, plan: RoundPlan, before: AdapterState, observed: np.ndarray) -> AdapterState:
    """The model that the server makes of an observed mean, with an optimiser that remembers nothing else."""
    federation = case.federation
    context = RoundContext(plan=plan, spec=federation.backbone.spec, state=before)
    someone = plan.cohort[0]
    received = Received(means=(observed,), survivors=(someone,), individual={someone: (observed, 1.0)})
    after, _ = federation.strategy.apply(received, context, federation.optimizer)
    return after


def ask(attack: Attack, question: Question) -> MembershipGuess:
    """Runs an attack on the view, if that reveals enough."""
    refuse_weaker(attack, question.view)
    guess = attack.run(question.view, rng=question.case.rng("membership"))
    if not isinstance(guess, MembershipGuess):
        raise NotApplicableError(f"{type(attack).__name__} does not guess membership")
    return guess


def by_calibrated_loss(question: Question) -> MembershipGuess:
    """Loss before minus loss after."""
    return ask(
        CalibratedMembership(
            backbone=question.case.federation.backbone,
            candidates=question.tokenise(question.candidates),
            apply=question.apply,
        ),
        question,
    )


def by_update_cosine(question: Question) -> MembershipGuess:
    """The candidate's own gradient beside the observed change."""
    backbone = question.case.federation.backbone
    candidates = question.tokenise(question.candidates)
    return ask(UpdateCosineMembership(backbone=backbone, candidates=candidates), question)


def by_lira(question: Question, *, mode: Mode) -> MembershipGuess:
    """LiRA against shadow adapters of the same round."""
    candidates = question.tokenise(question.candidates)
    return ask(
        LiraMembership(
            backbone=question.case.federation.backbone,
            candidates=candidates,
            apply=question.apply,
            shadows=_shadows(question, candidates),
            mode=mode,
        ),
        question,
    )


def by_rmia(question: Question, *, mode: Mode) -> MembershipGuess:
    """RMIA against the same kind of shadows; public texts are the population."""
    count = len(question.candidates)
    both = LabelledTexts(
        texts=(*question.candidates.texts, *question.public.texts),
        labels=np.concatenate([question.candidates.labels, question.public.labels]),
    )
    candidates = question.tokenise(both)
    found = ask(
        RmiaMembership(
            backbone=question.case.federation.backbone,
            candidates=candidates,
            apply=question.apply,
            shadows=_shadows(question, candidates),
            population=np.arange(count, len(candidates)),
            mode=mode,
        ),
        question,
    )
    return MembershipGuess(scores=found.scores[:count])


def by_quantiles(question: Question) -> MembershipGuess:
    """Quantile regression on the public texts."""
    return ask(
        QuantileMembership(
            backbone=question.case.federation.backbone,
            candidates=question.tokenise(question.candidates),
            apply=question.apply,
            public=question.tokenise(question.public),
        ),
        question,
    )


def by_fedmia(question: Question) -> MembershipGuess:
    """FedMIA in one round: the other clients' messages stand for models without the example."""
    (target, *_) = question.view.contributors
    attack = FedMia(
        backbone=question.case.federation.backbone,
        candidates=question.tokenise(question.candidates),
        apply=question.apply,
        target=target,
    )
    refuse_weaker(attack, question.view)
    if not question.beside:
        raise NotApplicableError("FedMIA compares with the messages of other clients, and there are none")
    return attack.run_rounds([{**question.beside, target: question.view}])


def by_min_k(question: Question) -> MembershipGuess:
    """The least likely words of a text, where the model foretells words."""
    federation = question.case.federation
    if federation.config.peft.method in ("prefix", "prompt"):
        raise NotApplicableError("Min-K% reads the language model by itself, and virtual tokens stand outside of it")
    return ask(
        MinKMembership(
            backbone=federation.backbone, candidates=question.tokenise(question.candidates), apply=question.apply
        ),
        question,
    )


RULES: Mapping[str, tuple[Rule, str]] = {
    "membership": (by_calibrated_loss, "loss before minus loss after"),
    "update-cosine": (by_update_cosine, "cosine of an example's gradient with the change"),
    "lira": (lambda question: by_lira(question, mode="online"), f"LiRA, online, {SHADOWS} shadows"),
    "lira-offline": (lambda question: by_lira(question, mode="offline"), f"LiRA, offline, {SHADOWS} shadows"),
    "rmia": (lambda question: by_rmia(question, mode="online"), f"RMIA, online, {SHADOWS} shadows"),
    "rmia-offline": (lambda question: by_rmia(question, mode="offline"), f"RMIA, offline, {SHADOWS} shadows"),
    "quantile": (by_quantiles, f"quantile regression on {POPULATION} public texts"),
    "min-k": (by_min_k, "Min-K%: the least likely fifth of the words"),
    "fedmia": (by_fedmia, "FedMIA in one round, against the other attacked messages"),
}
"""Name → how, and how in words."""


def _shadows(question: Question, candidates: Examples) -> Shadows:
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
    vector = message_of(question.case, question.view, batch, rng=rng, bound=True, clipped=private)
    return vector if private else vector * min(1.0, len(batch) / expected_batch(question))


def expected_batch(question: Question) -> float:
    """How many examples a client's step has, as far as the public knows."""
    plan = question.view.plan
    return plan.nominal_batch if plan.private else question.case.federation.config.training.nominal_batch
