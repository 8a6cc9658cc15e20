"""Min-K% on tiny models that answer in words, against their own likelihoods; refused where nothing is foretold."""

from pathlib import Path

import numpy as np
import pytest

from attacks.errors import NotApplicableError
from attacks.membership import MinKMembership
from attacks.suite.case import Case
from attacks.suite.membership_rules import by_min_k
from attacks.suite.own_texts import as_case
from attacks.suite.question import Question
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.label_words import WordAnswers
from fedpeft_secure.server.evaluation import predict
from tests.fedpeft_secure.conftest import (
    MakeFederation,
    make_federation,
    tiny_bert,
    tiny_config,
    tiny_llama,
    tiny_t5_whole,
)

__all__ = ["make_federation", "tiny_bert", "tiny_config", "tiny_llama", "tiny_t5_whole"]

TEXTS = LabelledTexts(texts=("the room was clean", "cold food and slow service"), labels=np.array([0, 1]))


def opened(make: MakeFederation, model: Path, task: str, **changes: str) -> Case:
    federation = make({"privacy.epsilon": "inf", "model.name": str(model), "model.task": task, **changes})
    return as_case(federation, federation.start)


def attack(case: Case, texts: LabelledTexts, *, share: float) -> np.ndarray:
    seen = case.replay("individual", {"client-1": TEXTS}, client="client-1", name="min-k")
    candidates = case.federation.tokenise(texts)
    # The adapter stays as it was sent out, so that scores can be compared with the model's own.
    rule = MinKMembership(
        backbone=case.federation.backbone, candidates=candidates, apply=lambda before, _: before, share=share
    )
    return rule.run(seen, rng=np.random.default_rng(0)).scores


def words_of(case: Case) -> WordAnswers:
    return next(module for module in case.federation.backbone.model.modules() if isinstance(module, WordAnswers))


def own_likelihoods(case: Case, examples: Examples) -> np.ndarray:
    return predict(case.federation.backbone, case.before, examples).logits


def test_all_words_of_an_answer_of_t5_are_its_likelihood(make_federation: MakeFederation, tiny_t5_whole: Path) -> None:
    case = opened(make_federation, tiny_t5_whole, "seq2seq")
    lengths = words_of(case).real.sum(dim=1).numpy()[TEXTS.labels]
    own = own_likelihoods(case, case.federation.tokenise(TEXTS))[np.arange(2), TEXTS.labels]
    assert attack(case, TEXTS, share=1.0) * lengths == pytest.approx(own, rel=1e-4)
    assert (attack(case, TEXTS, share=0.2) <= attack(case, TEXTS, share=1.0)).all()


def test_two_answers_to_a_text_differ_by_their_own_likelihoods(
    make_federation: MakeFederation, tiny_llama: Path
) -> None:
    case = opened(make_federation, tiny_llama, "causal")
    both = LabelledTexts(texts=TEXTS.texts[:1] * 2, labels=np.array([0, 1]))
    examples = case.federation.tokenise(both)
    model = words_of(case)
    lengths = len(examples.token_ids[0]) - 1 + len(model.cue) + model.real.sum(dim=1).numpy()  # type: ignore[arg-type]
    totals = attack(case, both, share=1.0) * lengths
    own = own_likelihoods(case, examples)[0]
    assert totals[0] - totals[1] == pytest.approx(own[0] - own[1], rel=1e-3)


def test_a_model_with_a_head_or_with_virtual_tokens_is_refused_in_words(
    make_federation: MakeFederation, tiny_bert: Path, tiny_t5_whole: Path
) -> None:
    with pytest.raises(NotApplicableError, match="classification head"):
        attack(opened(make_federation, tiny_bert, "auto"), TEXTS, share=0.2)
    case = opened(make_federation, tiny_t5_whole, "seq2seq", **{"peft.method": "prompt"})
    view = case.replay("individual", {"client-1": TEXTS}, client="client-1", name="min-k")
    with pytest.raises(NotApplicableError, match="virtual tokens"):
        by_min_k(Question(case=case, view=view, candidates=TEXTS, public=TEXTS))
