"""Loss-based membership inference of a run: what each defence bought."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from attacks.base import View, refuse_weaker, score
from attacks.membership.loss import CalibratedMembership
from attacks.membership.scoring import MembershipGuess, MembershipTruth
from attacks.suite.case import VIEWS, Case, not_measured
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation import Received
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.result import AttackRow, ViewName

ATTACK, METRIC = "membership", "AUC"

BATCH = 16
"""Examples of a client in a replayed round."""

REPLAYS = 4
"""Clients whose messages are attacked one by one."""

OWN_MEMBERS = 96
"""Members of the run's own round that are scored at most."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """Three equally composed groups of examples: used in the round, not used, not used either (the null control)."""

    members: LabelledTexts = field(repr=False)
    non_members: LabelledTexts = field(repr=False)
    control: LabelledTexts = field(repr=False)

    @property
    def candidates(self) -> LabelledTexts:
        """All of them, in this order."""
        return _joined((self.members, self.non_members, self.control))

    def __len__(self) -> int:
        return len(self.members)


def membership_rows(case: Case) -> tuple[AttackRow, ...]:
    """One row for each of the four views."""
    return tuple(_own_row(case) if view == case.own_view else _replayed_row(case, view) for view in VIEWS)


def match_classes(members: LabelledTexts, public: LabelledTexts, *, rng: np.random.Generator) -> Panel:
    """Draws as many non-members and controls of each class as there are members of it.

    Members of a class for which there are too few public texts are left out, so that no group betrays itself by its
    mix of classes.
    """
    nobody = np.arange(0)
    kept, outside, control = [nobody], [nobody], [nobody]
    for label in np.unique(members.labels):
        ours = np.flatnonzero(members.labels == label)
        theirs = rng.permutation(np.flatnonzero(public.labels == label))
        count = min(ours.size, theirs.size // 2)
        kept.append(rng.permutation(ours)[:count])
        outside.append(theirs[:count])
        control.append(theirs[count : 2 * count])
    return Panel(
        members=members.take(np.concatenate(kept)),
        non_members=public.take(np.concatenate(outside)),
        control=public.take(np.concatenate(control)),
    )


def _replayed_row(case: Case, view: ViewName) -> AttackRow:
    """The same batches and the same examples asked about under every view, so that rows differ by the defence only."""
    texts = {name: _draw(_texts_of(case, name), BATCH, case.rng("membership", name)) for name in case.plan.cohort}
    targets = case.plan.cohort[:REPLAYS]
    seen: dict[str, View] = {}
    if view.startswith("sum"):
        seen = dict.fromkeys(targets, case.replay(view, texts, client=targets[0], name="membership"))
    else:
        seen = {name: case.replay(view, texts, client=name, name=f"membership {name}") for name in targets}
    panels = [match_classes(texts[name], _public(case), rng=case.rng("membership", "panel", name)) for name in targets]
    guesses = [_guess(case, seen[name], panel) for name, panel in zip(targets, panels, strict=True) if len(panel)]
    note = f"batches of {BATCH}, every example in its batch for sure; loss before minus loss after"
    if view.endswith("-dp") and case.decided_by:
        note = f"{note}; {case.decided_by}"
    return _row(case, view, guesses, replay=True, note=note)


def _own_row(case: Case) -> AttackRow:
    seen = case.read(case.plan.cohort[0])
    rng = case.rng("membership", "own")
    batches = [_texts_of(case, name).take(case.batch(name)) for name in seen.contributors]
    panel = match_classes(_draw(_joined(batches), OWN_MEMBERS, rng), _public(case), rng=rng)
    note = f"round {case.plan.round} as it was recorded; loss before minus loss after"
    return _row(case, case.own_view, [_guess(case, seen, panel)] if len(panel) else [], replay=False, note=note)


def _guess(case: Case, seen: View, panel: Panel) -> MembershipGuess:
    attack = CalibratedMembership(
        backbone=case.federation.backbone,
        candidates=case.federation.tokenise(panel.candidates),
        apply=lambda before, observed: server_step(case, seen.plan, before, observed),
    )
    refuse_weaker(attack, seen)
    return attack.run(seen, rng=case.rng("membership"))


def server_step(case: Case, plan: RoundPlan, before: AdapterState, observed: np.ndarray) -> AdapterState:
    """The model that the server makes of an observed mean, with an optimiser that remembers nothing else."""
    federation = case.federation
    context = RoundContext(plan=plan, spec=federation.backbone.spec, state=before)
    someone = plan.cohort[0]
    received = Received(means=(observed,), survivors=(someone,), individual={someone: (observed, 1.0)})
    after, _ = federation.strategy.apply(received, context, federation.optimizer)
    return after


def _row(
    case: Case,
    view: ViewName,
    guesses: Sequence[MembershipGuess],
    *,
    replay: bool,
    note: str,
) -> AttackRow:
    """Scores of several attacked messages are taken together, group by group."""
    if not guesses:
        reason = "no example was in the batches, or public texts of its class are too few to compare with"
        return not_measured(ATTACK, METRIC, view, replay=replay, reason=reason)
    thirds = [np.split(guess.scores, 3) for guess in guesses]
    pooled = [np.concatenate([third[group] for third in thirds]) for group in range(3)]
    bounds = np.cumsum([0, *(group.size for group in pooled)])
    members, non_members, control = (np.arange(a, b) for a, b in pairwise(bounds))
    found = score(
        MembershipGuess(scores=np.concatenate(pooled)),
        MembershipTruth(
            members=members,
            non_members=non_members,
            control=control,
            rng=case.rng("membership", "bootstrap", view),
        ),
    )
    return AttackRow(
        attack=ATTACK,
        view=view,
        replay=replay,
        metric=found.metric,
        value=found.value,
        low=found.low,
        high=found.high,
        null=found.null,
        note="; ".join((note, *found.remarks)),
    )


def _texts_of(case: Case, client: str) -> LabelledTexts:
    return case.federation.data.clients[case.federation.config.client_names.index(client)]


def _public(case: Case) -> LabelledTexts:
    """Texts that no client holds. The test split is read here after the result's own figures were taken from it."""
    return _joined((case.federation.data.validation, case.federation.data.test))


def _draw(texts: LabelledTexts, count: int, rng: np.random.Generator) -> LabelledTexts:
    return texts.take(rng.permutation(len(texts))[:count])


def _joined(parts: Sequence[LabelledTexts]) -> LabelledTexts:
    return LabelledTexts(
        texts=tuple(text for part in parts for text in part.texts),
        labels=np.concatenate([part.labels for part in parts]),
    )
