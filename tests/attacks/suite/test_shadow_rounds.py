"""Shadows must be what the attacked client would have sent: else a defence looks better than it is."""

from typing import Any

import numpy as np
import pytest

from attacks.suite.own_texts import as_case, warm_up
from attacks.suite.question import Question
from attacks.suite.shadow_rounds import shadow_message
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.result import ViewName
from tests.attacks.suite.test_own_texts import OPEN, lively
from tests.fedpeft_secure.conftest import MakeFederation, make_federation

__all__ = ["make_federation"]

TEXTS = LabelledTexts(
    texts=("the room was clean", "the meal was cold and late", "nobody came to the desk", "a quiet place"),
    labels=np.array([1, 0, 0, 1]),
)
ALONE: dict[str, Any] = OPEN | {"secure_sum.protocol": "plain", "training.nominal_batch": len(TEXTS)}
HARDLY_PRIVATE = {"privacy.epsilon": 20_000.0, "privacy.clip_norm": 0.05, "privacy.accountant": "rdp"}


def question(make_federation: MakeFederation, view: ViewName, changes: dict[str, Any]) -> Question:
    federation = lively(make_federation(ALONE | changes))
    case = as_case(federation, warm_up(federation))
    first = case.plan.cohort[0]
    seen = case.replay(view, {first: TEXTS}, client=first, name="shadows")
    return Question(case=case, view=seen, candidates=TEXTS, public=TEXTS)


def missed(asked: Question, message: np.ndarray, *, stddev: float) -> float:
    """Root mean square distance of the real message in its own standard deviations: 1 where nothing else differs."""
    return float(np.sqrt(np.mean((asked.view.observed - message) ** 2)) / stddev)


def of(asked: Question, texts: LabelledTexts) -> np.ndarray:
    return shadow_message(asked, asked.tokenise(texts), np.random.default_rng(0))


def test_without_a_budget_a_shadow_is_the_message_up_to_its_rounding(make_federation: MakeFederation) -> None:
    asked = question(make_federation, "individual", {})
    message = of(asked, TEXTS)
    assert np.abs(message).max() > 10 * asked.view.rounding_stddev
    assert missed(asked, message, stddev=asked.view.rounding_stddev) <= 1


def test_with_one_it_is_the_message_up_to_its_noise(make_federation: MakeFederation) -> None:
    """Every example is clipped by itself and divided by the nominal batch; only noise is missing."""
    asked = question(make_federation, "individual-dp", HARDLY_PRIVATE)
    message = of(asked, TEXTS)
    assert np.abs(message).max() > 10 * asked.view.noise_stddev, "what is compared must stand out of the noise"
    assert missed(asked, message, stddev=asked.view.noise_stddev) == pytest.approx(1, abs=0.1)
    parts = [of(asked, TEXTS.take(np.array([index]))) for index in range(len(TEXTS))]
    assert sum(parts[1:], parts[0]) == pytest.approx(message, abs=1e-5), "a sum over examples"


def test_an_example_weighs_what_it_does_in_a_whole_batch(make_federation: MakeFederation) -> None:
    """Shadows are of fewer examples than a client has: their mean would let one of them stand out too much."""
    asked = question(make_federation, "individual", {"privacy.clip_norm": 1e3})
    parts = [of(asked, TEXTS.take(np.array([index]))) for index in range(len(TEXTS))]
    assert sum(parts[1:], parts[0]) == pytest.approx(of(asked, TEXTS), abs=1e-5)
