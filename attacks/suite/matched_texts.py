"""The optimisation baselines of a run, DLG, TAG and LAMP: the same replayed rounds and the same sentences as `span`."""

from typing import Literal

from attacks.base import View, refuse_weaker
from attacks.errors import AttackError, NotApplicableError
from attacks.inversion import TextGuess, compare, token_log_prior
from attacks.inversion.factors import read_layer
from attacks.inversion.matching import MatchingInversion, word_table
from attacks.inversion.span import FRAME
from attacks.suite.case import VIEWS, Case, not_measured, special_tokens
from attacks.suite.texts import LONGEST, METRIC, REPLAYS, choose_sentence, longest_for, text_row, text_truth
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.result import AttackRow, ViewName

Objective = Literal["dlg", "tag", "lamp"]

GIVEN = "its length and class are given to the attack, which makes one sentence of whatever it sees"


def matching_rows(case: Case, attack: Objective) -> tuple[AttackRow, ...]:
    """One row of a baseline for each of the four views; a view on which it has not what it needs says so."""
    longest = _longest(case)
    return tuple(_row_of(case, attack, view, longest) for view in VIEWS)


def _row_of(case: Case, attack: Objective, view: ViewName, longest: int) -> AttackRow:
    own = view == case.own_view
    try:
        return _own_row(case, attack) if own else _replayed_row(case, attack, view, longest)
    except AttackError as error:
        return not_measured(attack, METRIC, view, replay=not own, reason=str(error))


def _longest(case: Case) -> int:
    """As long as the sentences that `span` is given, where it applies."""
    try:
        return longest_for(read_layer(case.read(case.plan.cohort[0]), 0, relative_precision=0.0).token_budget)
    except NotApplicableError:
        return LONGEST


def _replayed_row(case: Case, attack: Objective, view: ViewName, longest: int) -> AttackRow:
    recoveries, present = [], []
    for index in range(REPLAYS):
        client = case.plan.cohort[index % len(case.plan.cohort)]
        texts = {name: choose_sentence(case, name, longest=longest, rank=index) for name in case.plan.cohort}
        seen = case.replay(view, texts, client=client, name=f"span {index}")
        batches = [texts[name] for name in seen.contributors]
        truth = text_truth(case, batches, name=f"{view} {index}")
        recoveries.append(compare(_matched(case, attack, seen, batches[0], name=f"{view} {index}"), truth))
        present.append(truth.tokens_present)
    note = f"{REPLAYS} rounds with one sentence a client, {_effort(case)}"
    if view.endswith("-dp") and case.decided_by:
        note = f"{note}; {case.decided_by}"
    return text_row(case, attack, view, recoveries, replay=True, budget=None, present=max(present), note=note)


def _own_row(case: Case, attack: Objective) -> AttackRow:
    seen = case.read(case.plan.cohort[0])
    names = case.federation.config.client_names
    drawn = [case.federation.data.clients[names.index(name)].take(case.batch(name)) for name in seen.contributors]
    batches = [batch for batch in drawn if len(batch)]
    if not batches:
        raise NotApplicableError("no example was in the batches of the recorded round")
    truth = text_truth(case, batches, name="own")
    return text_row(
        case,
        attack,
        case.own_view,
        [compare(_matched(case, attack, seen, batches[0], name="own"), truth)],
        replay=False,
        budget=None,
        present=truth.tokens_present,
        note=f"round {case.plan.round} as it was recorded, {_effort(case)}",
    )


def _matched(case: Case, attack: Objective, seen: View, batch: LabelledTexts, *, name: str) -> TextGuess:
    """Fits a sentence as long as the first of the batch, and of its class."""
    federation, first = case.federation, batch.take([0])
    vocabulary = word_table(federation.backbone.model).num_embeddings
    matching = MatchingInversion(
        backbone=federation.backbone,
        words=max(len(federation.tokenise(first).token_ids[0]) - FRAME, 1),
        label=int(first.labels[0]),
        objective=attack,
        special=special_tokens(case),
        log_prior=token_log_prior(federation.validation.token_ids, vocabulary=vocabulary),
        steps=federation.config.attacks.matching_steps,
    )
    refuse_weaker(matching, seen)
    return matching.run(seen, rng=case.rng(attack, name))


def _effort(case: Case) -> str:
    return f"{case.federation.config.attacks.matching_steps} steps; {GIVEN}"
