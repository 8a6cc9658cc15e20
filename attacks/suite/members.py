"""Membership inference of a run: what each defence bought."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from attacks.base import Granularity, View
from attacks.errors import AttackError
from attacks.membership.scoring import MembershipGuess, MembershipTruth, judge
from attacks.suite.case import VIEWS, Case, not_measured
from attacks.suite.membership_rules import POPULATION, RULES
from attacks.suite.question import Question
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.result import AttackRow, ViewName

METRIC = "AUC"

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


def membership_rows(case: Case, attack: str = "membership") -> tuple[AttackRow, ...]:
    """One row of `attack` for each of the four views; `attack` is a name of `RULES`.

    A view on which the attack has not what it needs, such as public texts to compare with, gets a row that says so.
    """
    return tuple(_row_of(case, attack, view) for view in VIEWS)


def _row_of(case: Case, attack: str, view: ViewName) -> AttackRow:
    own = view == case.own_view
    try:
        return _own_row(case, attack) if own else _replayed_row(case, attack, view)
    except AttackError as error:
        return not_measured(attack, METRIC, view, replay=not own, reason=str(error))


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


def _replayed_row(case: Case, attack: str, view: ViewName) -> AttackRow:
    """The same batches and the same examples asked about under every view, so that rows differ by the defence only."""
    texts = {name: _draw(_texts_of(case, name), BATCH, case.rng("membership", name)) for name in case.plan.cohort}
    targets = case.plan.cohort[:REPLAYS]
    seen: dict[str, View] = {}
    if view.startswith("sum"):
        seen = dict.fromkeys(targets, case.replay(view, texts, client=targets[0], name="membership"))
    else:
        seen = {name: case.replay(view, texts, client=name, name=f"membership {name}") for name in targets}
    panels = [match_classes(texts[name], _public(case), rng=case.rng("membership", "panel", name)) for name in targets]
    guesses = [
        _guess(case, attack, seen[name], panel, _beside(seen, name))
        for name, panel in zip(targets, panels, strict=True)
        if len(panel)
    ]
    note = f"batches of {BATCH}, every example in its batch for sure; {RULES[attack][1]}"
    if view.endswith("-dp") and case.decided_by:
        note = f"{note}; {case.decided_by}"
    return _row(case, attack, view, guesses, replay=True, note=note)


def _own_row(case: Case, attack: str) -> AttackRow:
    seen = case.read(case.plan.cohort[0])
    rng = case.rng("membership", "own")
    batches = [_texts_of(case, name).take(case.batch(name)) for name in seen.contributors]
    panel = match_classes(_draw(_joined(batches), OWN_MEMBERS, rng), _public(case), rng=rng)
    note = f"round {case.plan.round} as it was recorded; {RULES[attack][1]}"
    single = seen.granularity is Granularity.INDIVIDUAL
    beside = {name: case.read(name) for name in case.plan.cohort[1:REPLAYS] if single}
    guesses = [_guess(case, attack, seen, panel, beside)] if len(panel) else []
    return _row(case, attack, case.own_view, guesses, replay=False, note=note)


def _guess(case: Case, attack: str, seen: View, panel: Panel, beside: Mapping[str, View]) -> MembershipGuess:
    rule, _ = RULES[attack]
    asked = panel.candidates
    return rule(Question(case=case, view=seen, candidates=asked, public=_others(case, asked), beside=beside))


def _beside(seen: Mapping[str, View], target: str) -> dict[str, View]:
    """Single messages of the others."""
    return {name: view for name, view in seen.items() if name != target and view.granularity is Granularity.INDIVIDUAL}


def _others(case: Case, asked: LabelledTexts) -> LabelledTexts:
    """Public texts that are not asked about."""
    public, known = _public(case), set(asked.texts)
    free = np.array([index for index, text in enumerate(public.texts) if text not in known])
    return public.take(case.rng("membership", "population").permutation(free)[:POPULATION])


def _row(
    case: Case,
    attack: str,
    view: ViewName,
    guesses: Sequence[MembershipGuess],
    *,
    replay: bool,
    note: str,
) -> AttackRow:
    """Scores of several attacked messages are taken together, group by group."""
    if not guesses:
        reason = "no example was in the batches, or public texts of its class are too few to compare with"
        return not_measured(attack, METRIC, view, replay=replay, reason=reason)
    thirds = [np.split(guess.scores, 3) for guess in guesses]
    pooled = [np.concatenate([third[group] for third in thirds]) for group in range(3)]
    bounds = np.cumsum([0, *(group.size for group in pooled)])
    members, non_members, control = (np.arange(a, b) for a, b in pairwise(bounds))
    found, curve = judge(
        MembershipGuess(scores=np.concatenate(pooled)),
        MembershipTruth(
            members=members,
            non_members=non_members,
            control=control,
            rng=case.rng("membership", "bootstrap", view),
        ),
    )
    return AttackRow(
        attack=attack,
        view=view,
        replay=replay,
        metric=found.metric,
        value=found.value,
        low=found.low,
        high=found.high,
        null=found.null,
        note="; ".join((note, *found.remarks)),
        roc=curve,
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
