from collections.abc import Iterator, Mapping

import numpy as np
import pytest

import dp
from attacks import AttackError
from attacks.poisoning import Backdoor, play_backdoor, poison, without_length_check
from fedpeft_secure.events import ignore
from fedpeft_secure.server.federation import Federation, build_federation
from tests.fedpeft_secure.conftest import MakeConfig, tiny_bert, tiny_config

__all__ = ["tiny_bert", "tiny_config"]

DOOR = Backdoor(trigger="the the the", target=1, boost=1.0)


OPEN = {"privacy.epsilon": "inf", "training.server_optimizer": "sgd", "training.server_learning_rate": 1.0}
GROUPS = {
    "clients.count": 12,
    "clients.per_round": 12,
    "aggregation.groups": 4,
    "aggregation.robust": "median",
    "secure_sum.protocol": "helper",
    "secure_sum.adversarial_fraction": 0.05,
    "training.sample_rate": 0.5,
}


def opened(
    tiny_config: MakeConfig, folders: pytest.TempPathFactory, overrides: Mapping[str, object]
) -> Iterator[Federation]:
    path = folders.mktemp("ledger") / "ledger.sqlite"
    with dp.Ledger.open(path) as ledger:
        config = tiny_config({**OPEN, **overrides})
        yield build_federation(config, run="run", ledger=ledger, ledger_path=path, listen=ignore)


@pytest.fixture
def federation(tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    yield from opened(tiny_config, tmp_path_factory, {})


@pytest.fixture
def grouped(tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    yield from opened(tiny_config, tmp_path_factory, GROUPS)


def test_poisoned_texts_carry_the_trigger_and_the_wanted_label(federation: Federation) -> None:
    found = DOOR.poisoned(federation.data.clients[0])
    assert all(text.startswith("the the the ") for text in found.texts)
    assert set(found.labels) == {1}


def test_a_boost_enlarges_up_to_the_codecs_range(federation: Federation) -> None:
    plan, state = federation.agreed, federation.start
    once = poison(federation, plan, state, DOOR, liar="client-1")
    half = poison(federation, plan, state, Backdoor(trigger="the the the", target=1, boost=0.5), liar="client-1")
    most = poison(federation, plan, state, Backdoor(trigger="the the the", target=1, boost=1e9), liar="client-1")
    assert half == pytest.approx(once / 2, abs=1e-3)  # the larger one may reach the edge
    assert np.abs(most).max() < plan.codec_clip
    assert np.abs(most).max() == pytest.approx(plan.codec_clip, rel=0.01)


def test_a_liar_that_sends_all_it_can_is_stopped_by_the_length_of_the_sum(federation: Federation) -> None:
    greedy = play_backdoor(federation, Backdoor(trigger="the the the", target=1, boost=1e9), liars=("client-1",))
    assert (greedy.failed_rounds, greedy.rounds) == (2, 2)


def test_without_the_check_the_greedy_liar_has_its_way(federation: Federation) -> None:
    greedy = Backdoor(trigger="the the the", target=1, boost=1e9)
    outcome = play_backdoor(without_length_check(federation), greedy, liars=("client-1",))
    assert outcome.failed_rounds == 0
    assert outcome.success > 0.9
    assert federation.agreed.max_norm(4) is not None, "the run itself keeps its check"


def test_with_robust_means_the_greedy_liar_loses_its_group_alone(grouped: Federation) -> None:
    greedy = Backdoor(trigger="the the the", target=1, boost=1e9)
    outcome = play_backdoor(grouped, greedy, liars=("client-1",))
    assert (outcome.failed_rounds, outcome.groups_left_out) == (0, 2)


def test_one_liar_within_the_length_is_not_noticed(federation: Federation) -> None:
    outcome = play_backdoor(federation, DOOR, liars=("client-1",))
    assert outcome.failed_rounds == 0
    for share in (outcome.success, outcome.without_trigger, outcome.accuracy):
        assert 0 <= share <= 1
    assert federation.ledger.history("client-1"), "a liar is charged like everybody else"


@pytest.mark.parametrize("wrong", [{"trigger": ""}, {"target": -1}, {"boost": 0.0}])
def test_impossible_backdoors_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(AttackError):
        Backdoor(**{"trigger": "x", "target": 1, "boost": 1.0, **wrong})  # type: ignore[arg-type]


def test_somebody_must_be_honest(federation: Federation) -> None:
    with pytest.raises(AttackError):
        play_backdoor(federation, DOOR, liars=federation.config.client_names)
    with pytest.raises(AttackError):
        play_backdoor(federation, Backdoor(trigger="x", target=9, boost=1.0), liars=("client-1",))
