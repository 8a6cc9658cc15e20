"""What a sum of two clients says about whose sentence is whose: nothing, because it is the same either way."""

import numpy as np
import pytest

from attacks.base import View
from attacks.suite.own_texts import as_case, attack_texts, warm_up
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.result import ViewName
from tests.attacks.suite.test_own_texts import OPEN, lively
from tests.fedpeft_secure.conftest import MakeFederation, make_federation

__all__ = ["make_federation"]

OF_TWO = OPEN | {"clients.count": 2, "clients.per_round": 2, "secure_sum.protocol": "plain"}
ONE = LabelledTexts(texts=("the room was clean",), labels=np.array([1]))
OTHER = LabelledTexts(texts=("the meal was cold and late",), labels=np.array([0]))
STEPS = 8
"""Standard deviations of the codec's rounding within which two views are the same."""


def views(make_federation: MakeFederation, view: ViewName) -> tuple[View, View]:
    """The same two sentences, and the same with the clients exchanged."""
    federation = lively(make_federation(OF_TWO))
    case = as_case(federation, warm_up(federation))
    first, second = case.plan.cohort
    both = ({first: ONE, second: OTHER}, {first: OTHER, second: ONE})
    seen = [case.replay(view, texts, client=first, name=f"whose {turn}") for turn, texts in enumerate(both)]
    return seen[0], seen[1]


def apart(pair: tuple[View, View]) -> float:
    """Largest difference of two views in standard deviations of their rounding."""
    return float(np.abs(pair[0].observed - pair[1].observed).max() / pair[0].rounding_stddev)


def test_the_sum_does_not_change_when_two_clients_exchange_their_texts(make_federation: MakeFederation) -> None:
    """Whatever rule an adversary uses, it says the same in both worlds, and is right in one of them: chance."""
    pair = views(make_federation, "sum")
    assert pair[0].contributors == pair[1].contributors
    assert apart(pair) < STEPS


def test_each_message_by_itself_does(make_federation: MakeFederation) -> None:
    assert apart(views(make_federation, "individual")) > 100 * STEPS


@pytest.mark.parametrize("mine", ["the room", "the meal"])
def test_and_the_report_says_so_where_texts_come_back(make_federation: MakeFederation, mine: str) -> None:
    found = attack_texts(lively(make_federation(OF_TWO)), [mine], view="sum", before=None, shows_others=True)
    assert found.tokens_present <= found.token_budget
    assert found.recovered
    assert "1 in 2" in found.attribution
