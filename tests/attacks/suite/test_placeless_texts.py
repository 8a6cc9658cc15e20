"""Somebody's own sentences against small decoders and T5s: what their first layer sees has no places."""

from pathlib import Path

import pytest

from attacks.suite.own_texts import TextAttack, attack_texts
from attacks.suite.screen import text_table
from fedpeft_secure.result import ViewName
from fedpeft_secure.server.federation import Federation
from tests.attacks.suite.test_own_texts import play
from tests.fedpeft_secure.conftest import MakeFederation, make_federation, tiny_t5_whole

__all__ = ["make_federation", "tiny_t5_whole"]

OPEN = {"privacy.epsilon": "inf", "peft.rank": 16, "secure_sum.bits": 24}
WORDS = {"model.cue": ":", "model.label_words": {"praise": "a", "complaint": "b"}}
TEXTS = ("the room was clean", "my train came late", "the soup was cold")


@pytest.fixture
def decoder(deeper_llama: Path) -> dict[str, object]:
    return OPEN | WORDS | {"model.name": str(deeper_llama)}


@pytest.fixture
def t5(tiny_t5: Path) -> dict[str, object]:
    return OPEN | {"model.name": str(tiny_t5), "peft.rank": 8}


def test_a_decoders_sentence_grows_from_left_to_right(
    make_federation: MakeFederation, decoder: dict[str, object]
) -> None:
    found = play(make_federation(decoder), "individual", TEXTS[0])
    assert found.recovered == (TEXTS[0],)
    assert (found.rouge1, found.rouge2, found.token_recall, found.false_positives) == (1, 1, 1, 0)
    assert found.tokens_present == 9 + 2 <= found.token_budget == 32
    assert "9 of 9 distinct tokens found wherever they stand, 0 false" in found.note
    assert "beginnings of texts" in str(text_table(found).caption)


def test_a_batch_within_the_budget_grows_side_by_side(
    make_federation: MakeFederation, decoder: dict[str, object]
) -> None:
    found = play(make_federation(decoder | {"secure_sum.bits": 32}), "individual", *TEXTS)
    assert found.tokens_present <= found.token_budget
    assert sorted(found.recovered) == sorted(TEXTS)
    assert (found.token_recall, found.false_positives) == (1, 0)


def test_so_it_does_where_a_is_frozen(make_federation: MakeFederation, decoder: dict[str, object]) -> None:
    """The first token of a text has no gradient at its query, which would deny it."""
    found = play(make_federation(decoder | {"aggregation.strategy": "ffa"}), "individual", TEXTS[0])
    assert found.token_budget == 15
    assert (found.recovered, found.false_positives) == ((TEXTS[0],), 0)


def test_over_the_budget_nothing_is_claimed(make_federation: MakeFederation, decoder: dict[str, object]) -> None:
    found = play(make_federation(decoder | {"peft.rank": 4}), "individual", *TEXTS)
    assert found.tokens_present > found.token_budget == 8
    assert (found.recovered, found.token_recall, found.false_positives) == ((), 0, 0)
    assert "0 of" in found.note
    assert "0 false" in found.note


def test_noise_leaves_no_token(make_federation: MakeFederation, decoder: dict[str, object]) -> None:
    found = play(make_federation(decoder), "individual-dp", TEXTS[0])
    assert (found.recovered, found.token_recall, found.false_positives) == ((), 0, 0)
    assert "0 of 9 distinct tokens found wherever they stand, 0 false" in found.note


def test_a_coarse_update_names_tokens_and_no_places(
    make_federation: MakeFederation, decoder: dict[str, object]
) -> None:
    found = play(make_federation(decoder | {"training.precision": "bf16"}), "individual", TEXTS[0])
    assert (found.recovered, found.token_recall, found.false_positives) == ((), 0, 0)
    assert "9 of 9 distinct tokens found wherever they stand, 0 false" in found.note


@pytest.mark.parametrize("task", ["classification", "seq2seq"])
def test_t5_gives_its_tokens_away_and_their_order(
    make_federation: MakeFederation, t5: dict[str, object], tiny_t5_whole: Path, task: str
) -> None:
    named = {} if task == "classification" else {"model.name": str(tiny_t5_whole), "model.task": task}
    found = as_it_is(make_federation(t5 | named), "individual")
    assert found.recovered == (TEXTS[0],)
    assert (found.token_recall, found.false_positives) == (1, 0)
    assert found.tokens_present == 10 <= found.token_budget == 16
    assert "9 of 9 distinct tokens" in found.note


@pytest.mark.parametrize(("view", "rank"), [("individual-dp", 8), ("individual", 2)])
def test_t5_under_noise_and_over_the_budget(
    make_federation: MakeFederation, t5: dict[str, object], view: ViewName, rank: int
) -> None:
    found = as_it_is(make_federation(t5 | {"peft.rank": rank}), view)
    assert (found.recovered, found.token_recall, found.false_positives) == ((), 0, 0)
    assert "0 of 9 distinct tokens found wherever they stand, 0 false" in found.note


def as_it_is(federation: Federation, view: ViewName) -> TextAttack:
    """T5's first weights are large as they are: larger ones make its attention see one word and no order."""
    return attack_texts(federation, TEXTS[:1], view=view, before=None, shows_others=True)


def test_tokens_that_fit_a_full_row_space_explain_nothing(
    make_federation: MakeFederation, t5: dict[str, object]
) -> None:
    """Over the budget two of eight tokens would pass the span test by themselves."""
    found = play(make_federation(t5 | {"peft.rank": 2}), "individual", TEXTS[0])
    assert found.tokens_present > found.token_budget
    assert "0 of 9 distinct tokens found wherever they stand, 0 false" in found.note
