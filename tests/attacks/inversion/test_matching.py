"""The optimisation baselines on a tiny model, against words drawn at random as the null control."""

from dataclasses import replace

import numpy as np
import pytest

from attacks.base import View
from attacks.errors import NotApplicableError
from attacks.inversion.matching import MatchingInversion
from attacks.inversion.span import TextGuess, token_log_prior
from attacks.suite.case import Case, special_tokens
from attacks.suite.own_texts import as_case, warm_up
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.result import ViewName
from tests.fedpeft_secure.conftest import MakeFederation, make_federation, tiny_bert, tiny_config

__all__ = ["make_federation", "tiny_bert", "tiny_config"]

TEXTS = LabelledTexts(texts=("the room was clean",), labels=np.array([1]))


@pytest.fixture
def case(make_federation: MakeFederation) -> Case:
    federation = make_federation({"privacy.epsilon": "inf", "peft.rank": 8, "secure_sum.bits": 24})
    return as_case(federation, warm_up(federation))


def built(case: Case, objective: str, steps: int) -> MatchingInversion:
    truth = case.federation.tokenise(TEXTS).token_ids[0][1:-1]
    return MatchingInversion(
        backbone=case.federation.backbone,
        words=len(truth),
        label=1,
        objective=objective,  # type: ignore[arg-type]
        special=special_tokens(case),
        log_prior=token_log_prior([], vocabulary=len(case.federation.tokenizer)),
        steps=steps,
    )


def seen(case: Case, view: ViewName = "individual") -> View:
    return case.replay(view, {"client-1": TEXTS}, client="client-1", name="matching")


def invert(case: Case, objective: str, steps: int) -> tuple[TextGuess, tuple[int, ...]]:
    truth = tuple(case.federation.tokenise(TEXTS).token_ids[0][1:-1])
    return built(case, objective, steps).run(seen(case), rng=np.random.default_rng(0)), truth


@pytest.mark.parametrize("objective", ["dlg", "tag", "lamp"])
def test_a_sentence_of_the_right_length_comes_back_and_nothing_is_claimed(case: Case, objective: str) -> None:
    guess, truth = invert(case, objective, 20)
    assert len(guess.sentence) == len(truth)
    assert guess.claimed == frozenset()
    assert not {case.federation.tokenizer.cls_token_id, case.federation.tokenizer.sep_token_id} & set(guess.sentence)


def test_the_match_gets_nearer_with_steps_and_the_start_is_the_null_control(case: Case) -> None:
    truth = case.federation.tokenise(TEXTS).token_ids[0][1:-1]
    start, _ = invert(case, "lamp", 0)
    assert len(set(start.sentence) & set(truth)) <= 1
    moved, _ = invert(case, "lamp", 40)
    assert moved.sentence != start.sentence


def test_the_same_draw_gives_the_same_guess(case: Case) -> None:
    assert invert(case, "tag", 5)[0].sentence == invert(case, "tag", 5)[0].sentence


def test_what_a_private_client_divides_by_is_undone(case: Case) -> None:
    view, attack = seen(case), built(case, "dlg", 15)
    plan = view.plan.model_copy(update={"private": True, "nominal_batch": 7})
    private = replace(view, plan=plan, observed=view.observed / 7)
    found, own = (attack.run(each, rng=np.random.default_rng(0)).sentence for each in (private, view))
    assert found == own
    wrong = replace(private, plan=plan.model_copy(update={"nominal_batch": 700}))
    assert attack.run(wrong, rng=np.random.default_rng(0)).sentence != own


@pytest.mark.parametrize("change", [{"local_steps": 2}, {"optimizer": "adamw"}])
def test_other_steps_than_one_of_sgd_are_refused(case: Case, change: dict[str, object]) -> None:
    view = seen(case)
    with pytest.raises(NotApplicableError, match="one step of SGD"):
        built(case, "tag", 1).run(replace(view, plan=view.plan.model_copy(update=change)), rng=np.random.default_rng(0))
