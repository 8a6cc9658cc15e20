"""The membership attacks that a run can play, by the name in `attacks.run`."""

from collections.abc import Callable, Mapping

import numpy as np

from attacks.base import Attack, refuse_weaker
from attacks.errors import NotApplicableError
from attacks.membership.fedmia import FedMia
from attacks.membership.loss import CalibratedMembership
from attacks.membership.min_k import MinKMembership
from attacks.membership.scoring import MembershipGuess
from attacks.membership.shadow_attacks import LiraMembership, QuantileMembership, RmiaMembership
from attacks.membership.statistics import Mode
from attacks.membership.update_cosine import UpdateCosineMembership
from attacks.suite.question import Question
from attacks.suite.shadow_rounds import SHADOWS, shadows_of
from fedpeft_secure.data import LabelledTexts

POPULATION = 48
"""Public texts beside the candidates, for attacks that compare with texts known not to be members."""

Rule = Callable[[Question], MembershipGuess]


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
            shadows=shadows_of(question, candidates),
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
            shadows=shadows_of(question, candidates),
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
