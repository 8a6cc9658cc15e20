"""Somebody's own sentences against tiny models: the plumbing; the real model is in test_minilm."""

import numpy as np
import pytest
import torch

from attacks.suite.own_texts import TextAttack, attack_texts, attribution, match, refuse_client_level, warm_up
from fedpeft_secure.errors import ConfigError, InputError
from fedpeft_secure.server.federation import Federation
from tests.fedpeft_secure.conftest import MakeConfig, MakeFederation, make_federation, tiny_distilbert, tiny_roberta

__all__ = ["make_federation", "tiny_distilbert", "tiny_roberta"]

OPEN = {"privacy.epsilon": "inf", "peft.rank": 8, "secure_sum.bits": 32}
TEXT = "the room was clean"


def lively(federation: Federation) -> Federation:
    """A random model as strong as a trained one: with small weights all tokens have nearly the same gradient."""
    with torch.no_grad():
        for name, parameter in federation.backbone.model.named_parameters():
            if parameter.dim() == 2 and "lora" not in name and "classifier" not in name:
                parameter.mul_(10)
    return federation


def play(federation, view: str | None, *texts: str, shows_others: bool = True) -> TextAttack:  # type: ignore[no-untyped-def]
    return attack_texts(lively(federation), texts or (TEXT,), view=view, before=None, shows_others=shows_others)  # type: ignore[arg-type]


def test_one_sentence_within_the_budget_comes_back(make_federation: MakeFederation) -> None:
    found = play(make_federation(OPEN), "individual")
    assert found.recovered == (TEXT,)
    assert (found.rouge1, found.rouge2, found.rouge_l, found.token_recall, found.false_positives) == (1, 1, 1, 1, 0)
    assert 0 < found.tokens_present <= found.token_budget == 16
    assert found.attribution == ""
    assert TEXT not in repr(found)


@pytest.mark.parametrize("name", ["tiny_distilbert", "tiny_roberta"])
def test_other_encoders_give_their_words_away_in_order(
    make_federation: MakeFederation, request: pytest.FixtureRequest, name: str
) -> None:
    """RoBERTa counts positions from behind its padding id; DistilBERT has no types and other names."""
    found = play(make_federation(OPEN | {"model.name": str(request.getfixturevalue(name))}), "individual", "the room")
    assert [text.strip() for text in found.recovered] == ["the room"]
    assert (found.token_recall, found.false_positives) == (1, 0)


def test_noise_leaves_nothing(make_federation: MakeFederation) -> None:
    found = play(make_federation(OPEN), "individual-dp")
    assert (found.recovered, found.rouge1, found.token_recall, found.false_positives) == ((), 0, 0, 0)


def test_a_sum_says_that_it_does_not_say_whose_texts_they_are(make_federation: MakeFederation) -> None:
    found = play(make_federation(OPEN | {"peft.rank": 2}), "sum")
    assert found.attribution == ""  # nothing was found
    assert "1 in 5" in attribution(5, found=True)
    assert attribution(1, found=True) == ""


def test_over_the_budget_nothing_is_claimed(make_federation: MakeFederation) -> None:
    found = play(make_federation(OPEN | {"peft.rank": 2}), "sum")
    assert found.tokens_present > found.token_budget
    assert (found.recovered, found.false_positives) == ((), 0)


def test_the_default_view_is_the_configurations_own(make_federation: MakeFederation) -> None:
    assert play(make_federation(), None).view == "sum-dp"
    assert play(make_federation({"privacy.epsilon": "inf", "secure_sum.protocol": "plain"}), None).view == "individual"


def test_the_warm_up_moves_the_adapter_off_zero(make_federation: MakeFederation) -> None:
    federation = make_federation(OPEN)
    moved = warm_up(federation)
    left = [name for name in federation.trained.names if "lora_B" in name]
    assert left
    assert all(np.any(moved[name]) and not np.any(federation.start[name]) for name in left)


def test_empty_texts_and_whole_clients_are_refused(make_federation: MakeFederation, tiny_config: MakeConfig) -> None:
    with pytest.raises(InputError, match="--text"):
        play(make_federation(OPEN), "individual", " ")
    with pytest.raises(ConfigError, match=r"privacy\.unit"):
        refuse_client_level(tiny_config({"privacy.unit": "client"}))


def test_every_text_is_matched_with_one_recovered_sentence() -> None:
    assert match(("a b", "a c"), ("a c", "a b")) == ("a b", "a c")
    assert match(("a b", "a c"), ("a c",)) == ("", "a c")
    assert match(("a b",), ()) == ("",)
    assert match(("a b",), ("x y",)) == ("",)
