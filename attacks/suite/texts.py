"""Span inversion of a run: what each defence bought."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from attacks.base import View, refuse_weaker
from attacks.errors import NotApplicableError
from attacks.inversion import (
    BagInversion,
    Recovery,
    SpanInversion,
    TextGuess,
    TextTruth,
    compare,
    read_dictionary,
    summarise,
    token_log_prior,
)
from attacks.inversion.bags import read_words
from attacks.inversion.factors import read_layer
from attacks.inversion.hidden import BackboneForward
from attacks.inversion.matching import word_table
from attacks.inversion.orders import Exchanges, LeftToRight, Order
from attacks.inversion.span import LATER
from attacks.suite.case import (
    VIEWS,
    Case,
    answering_decoder,
    count_tokens,
    not_measured,
    special_tokens,
    text_frame,
)
from attacks.suite.echo import echo_of
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.result import AttackRow, RecoveredText, ViewName

ATTACK, METRIC = "span", "token recall"

REPLAYS = 3
"""Replayed rounds a view, each with other sentences."""

LONGEST = 8
"""Tokens of a replayed sentence at most, special ones included: short enough to survive rounding to 16 bits."""

UNRELATED = 40
"""Batches that the null control compares with."""

PRECISION = {"bf16": 4e-3, "fp32": 1e-6}
"""Relative error of a gradient's entries in the client's arithmetic."""

TOKEN_PRECISION = {"bf16": 2.0**-9 / 3**0.5, "fp32": 3e-6}
"""The same of the features that a layer reads."""


def span_rows(case: Case) -> tuple[AttackRow, ...]:
    """One row for each of the four views."""
    try:
        attack = build_attack(case)
        budget = read_layer(case.read(case.plan.cohort[0]), 0, relative_precision=0.0).token_budget
    except NotApplicableError as error:
        own = case.own_view
        return tuple(not_measured(ATTACK, METRIC, v, replay=v != own, reason=str(error)) for v in VIEWS)
    return tuple(
        _own_row(case, attack) if view == case.own_view else _replayed_row(case, attack, view, budget) for view in VIEWS
    )


def build_attack(case: Case) -> SpanInversion | BagInversion:
    """The attack with all that is public: embeddings, tokenizer, validation texts, arithmetic.

    Raises:
        NotApplicableError: If the model is of another kind.
    """
    order = _order(case)
    return _build_encoders(case) if order is None else _build_placeless(case, order)


def _order(case: Case) -> Order | None:
    """How texts are put in order where the first layer sees no places; None where it does."""
    model = case.federation.backbone.model
    frame, longest = text_frame(case), case.federation.config.model.max_length
    decoder = answering_decoder(case)
    if decoder is not None:
        above = decoder.config.num_hidden_layers - 1
        return LeftToRight(frame=frame, layers=tuple(layer for layer in LATER if layer < above), longest=longest)
    config: Any = model.config
    if config.model_type == "t5":
        return Exchanges(frame=frame, layers=LATER, longest=longest)
    return None


def _build_placeless(case: Case, order: Order) -> BagInversion:
    backbone = case.federation.backbone
    forward = BackboneForward(backbone=backbone, padding=order.frame.padding)
    vocabulary = word_table(backbone.model).num_embeddings
    return BagInversion(
        dictionary=read_words(forward.reading(case.before, [0]), vocabulary=vocabulary),
        order=order,
        relative_precision=PRECISION[backbone.precision],
        token_precision=TOKEN_PRECISION[backbone.precision],
        forward=forward,
    )


def _build_encoders(case: Case) -> SpanInversion:
    federation = case.federation
    dictionary = read_dictionary(federation.backbone.model, positions=federation.config.model.max_length)
    return SpanInversion(
        dictionary=dictionary,
        special=special_tokens(case),
        log_prior=token_log_prior(federation.validation.token_ids, vocabulary=dictionary.vocabulary),
        relative_precision=PRECISION[federation.backbone.precision],
        token_precision=TOKEN_PRECISION[federation.backbone.precision],
        forward=BackboneForward(backbone=federation.backbone, padding=special_tokens(case).padding),
        echo=echo_of(case),
    )


def choose_sentence(case: Case, client: str, *, longest: int, rank: int) -> LabelledTexts:
    """A text of `client` with at most `longest` tokens: the `rank`-th longest of those, else a text cut to fit."""
    texts = case.federation.data.clients[case.federation.config.client_names.index(client)]
    lengths = np.array([len(ids) for ids in case.federation.clients[client].examples.token_ids])
    fitting = np.flatnonzero(lengths <= longest)
    if fitting.size:
        by_length = fitting[np.argsort(-lengths[fitting], kind="stable")]
        return texts.take([by_length[rank % by_length.size]])
    chosen = texts.take([np.argsort(lengths, kind="stable")[rank % lengths.size]])
    words = chosen.texts[0].split()
    while len(words) > 1 and len(case.federation.tokenise(_text(words, chosen)).token_ids[0]) > longest:
        words = words[:-1]
    return _text(words, chosen)


def _replayed_row(case: Case, attack: SpanInversion | BagInversion, view: ViewName, budget: int) -> AttackRow:
    recoveries, present = [], []
    room = budget - max(map(len, text_frame(case).tails)) if answering_decoder(case) is not None else budget
    for index in range(REPLAYS):
        client = case.plan.cohort[index % len(case.plan.cohort)]
        texts = {name: choose_sentence(case, name, longest=longest_for(room), rank=index) for name in case.plan.cohort}
        seen = case.replay(view, texts, client=client, name=f"span {index}")
        truth = text_truth(case, [texts[name] for name in seen.contributors], name=f"{view} {index}")
        recoveries.append(compare(_guess(attack, seen, case), truth))
        present.append(count_tokens(case, [texts[name] for name in seen.contributors]))
    note = f"{REPLAYS} rounds with one sentence a client"
    if view.endswith("-dp") and case.decided_by:
        note = f"{note}; {case.decided_by}"
    return text_row(case, ATTACK, view, recoveries, replay=True, budget=budget, present=max(present), note=note)


def _own_row(case: Case, attack: SpanInversion | BagInversion) -> AttackRow:
    seen = case.read(case.plan.cohort[0])
    guess = _guess(attack, seen, case)
    names = case.federation.config.client_names
    batches = [case.federation.data.clients[names.index(name)].take(case.batch(name)) for name in seen.contributors]
    truth = text_truth(case, [batch for batch in batches if len(batch)], name="own")
    return text_row(
        case,
        ATTACK,
        case.own_view,
        [compare(guess, truth)],
        replay=False,
        budget=guess.token_budget,
        present=count_tokens(case, batches),
        note=f"round {case.plan.round} as it was recorded",
    )


def _guess(attack: SpanInversion | BagInversion, seen: View, case: Case) -> TextGuess:
    refuse_weaker(attack, seen)
    return attack.run(seen, rng=case.rng("span"))


def text_truth(case: Case, batches: Sequence[LabelledTexts], *, name: str) -> TextTruth:
    """What was in the batches, and public texts that were not; `name` names the draw of the latter."""
    sentences = tuple(tuple(ids) for batch in batches for ids in case.federation.tokenise(batch).token_ids)
    public = [tuple(ids) for ids in case.federation.validation.token_ids]
    rng = case.rng("span", "unrelated", name)
    tokenizer = case.federation.tokenizer
    return TextTruth(
        sentences=sentences,
        unrelated=tuple(
            tuple(public[i] for i in rng.choice(len(public), len(sentences), replace=True)) for _ in range(UNRELATED)
        ),
        special=text_frame(case),
        decode=lambda ids: str(tokenizer.decode(list(ids))),
    )


def longest_for(budget: int) -> int:
    """Tokens of a replayed sentence at most, special ones included."""
    return max(min(budget - 1, LONGEST), 3)


def text_row(
    case: Case,
    attack: str,
    view: ViewName,
    recoveries: Sequence[Recovery],
    *,
    replay: bool,
    budget: int | None,
    present: int,
    note: str,
) -> AttackRow:
    """The row of an inversion; `budget` is None for an attack without one."""
    found = summarise(recoveries)
    shown = [RecoveredText(truth=r.truth, recovered=r.recovered) for r in recoveries if replay or r.recovered]
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
        token_budget=budget,
        tokens_present=present,
        texts=tuple(shown) if case.shows_text else (),
    )


def _text(words: Sequence[str], chosen: LabelledTexts) -> LabelledTexts:
    return LabelledTexts(texts=(" ".join(words),), labels=chosen.labels)
