import pytest

from evaluations.matrix.defences import FAST, choose_defences, defences
from fedpeft_secure import Config
from fedpeft_secure.errors import InputError

BASE = Config()


def test_each_defence_changes_what_its_name_says() -> None:
    found = {name: arm.config(BASE, seed=0) for name, arm in defences(BASE).items()}
    private = {name for name, config in found.items() if config.is_private("client-1")}
    summed = {name for name, config in found.items() if config.secure_sum.protocol != "plain"}
    assert private == {name for name in found if "dp" in name}
    assert summed == {name for name in found if name.startswith("secure-sum") or name == "larger-cohort"}
    assert found["low-rank"].peft.rank < BASE.peft.rank
    assert found["ffa"].aggregation.strategy == "ffa"
    assert found["larger-cohort"].clients.per_round == 2 * BASE.clients.per_round
    assert set(FAST) <= set(found)


def test_what_the_configuration_cannot_have_is_refused_with_the_reason() -> None:
    headless = BASE.model_copy(update={"peft": BASE.peft.model_copy(update={"method": "head"})})
    chosen, refused = choose_defences(headless, ["plain", "ffa"])
    assert [arm.name for arm in chosen] == ["plain"]
    assert "ffa" in refused


def test_unknown_defences_are_named() -> None:
    with pytest.raises(InputError, match="--defences walls"):
        choose_defences(BASE, ["walls"])
