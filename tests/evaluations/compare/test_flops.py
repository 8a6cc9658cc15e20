from collections.abc import Callable

import pytest

from evaluations.compare.flops import client_round_flops
from fedpeft_secure import Config
from fedpeft_secure.result import Setup
from tests.evaluations.conftest import result

MakeConfig = Callable[..., Config]


def setup(examples: int = 200) -> Setup:
    return result().setup.model_copy(update={"train_examples": examples, "clients": 5})


def test_it_is_close_to_two_a_weight_and_token_forth_and_back(tiny_config: MakeConfig) -> None:
    flops = client_round_flops(tiny_config(), setup())
    weights = 2 * (4 * 32 * 32 + 2 * 32 * 48)  # two layers of a tiny BERT
    per_example = 32 * 2 * weights * 2
    assert flops == pytest.approx(0.25 * 40 * per_example, rel=0.5)


def test_it_grows_with_what_is_trained(tiny_config: MakeConfig) -> None:
    base = client_round_flops(tiny_config(), setup())
    assert base is not None
    for changes in ({"peft.rank": 8}, {"training.local_steps": 2}, {"training.sample_rate": 0.5}):
        more = client_round_flops(tiny_config(changes), setup())
        assert more is not None
        assert more > base
    top = client_round_flops(tiny_config({"peft.layers": 1}), setup())
    assert top is not None
    assert top < base


@pytest.mark.parametrize(
    "changes", [{"peft.method": "prompt"}, {"allocation.ranks": [2, 1, 2, 1, 2], "privacy.epsilon": "inf"}]
)
def test_what_is_not_modelled_is_not_guessed(changes: dict[str, object], tiny_config: MakeConfig) -> None:
    assert client_round_flops(tiny_config(changes), setup()) is None
