from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from fedpeft_secure import Config
from fedpeft_secure.adapters import AdapterState, flatten
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.sparse import ENDING, Sparse
from fedpeft_secure.clients import trainer as trainer_module
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.clients.training import LocalTask, LocalUpdate, train_locally
from fedpeft_secure.errors import ConfigError, PolicyError
from fedpeft_secure.events import Event, Notice, ignore
from fedpeft_secure.preflight import check
from fedpeft_secure.server import loop
from fedpeft_secure.server.job import TrainedRun, training_run

MakeConfig = Callable[..., Config]
SPARSE = {
    "aggregation.strategy": "fedit",
    "aggregation.sent_share": 0.25,
    "training.rounds": 3,
    "training.server_optimizer": "sgd",
    "training.server_learning_rate": 1.0,
    "training.server_schedule": "constant",
    "secure_sum.bits": 24,
    "privacy.epsilon": "inf",
}
CASES = [{}, {"aggregation.sent_values": "last_sum"}, {"privacy.epsilon": 8.0}]


@contextmanager
def watched(config: Config, folder: Path) -> Iterator[tuple[TrainedRun, list[RoundContext], list[LocalUpdate]]]:
    """A run, the public facts of its rounds, and what clients trained, one after another."""
    contexts: list[RoundContext] = []
    updates: list[LocalUpdate] = []

    def spy(backbone: Backbone, state: AdapterState, examples: Examples, task: LocalTask) -> LocalUpdate:
        updates.append(train_locally(backbone, state, examples, task))
        return updates[-1]

    def noted(**facts: object) -> RoundContext:
        contexts.append(RoundContext(**facts))  # type: ignore[arg-type]
        return contexts[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "train_locally", spy)
        patch.setattr(loop, "RoundContext", noted)
        with training_run(config, folder, resume=False, listen=ignore) as run:
            yield run, contexts, updates


@pytest.fixture(scope="module", params=CASES, ids=["random", "last_sum", "private"])
def seen(
    request: pytest.FixtureRequest, tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TrainedRun, list[RoundContext], list[LocalUpdate]]]:
    config = tiny_config({**SPARSE, **request.param})
    with watched(config, tmp_path_factory.mktemp("runs") / "run") as found:
        yield found


def strategy_of(trained: TrainedRun) -> Sparse:
    strategy = trained.federation.strategy
    assert isinstance(strategy, Sparse)
    return strategy


def flat_states(trained: TrainedRun, contexts: list[RoundContext]) -> list[np.ndarray]:
    """The trained values before every round and after the last."""
    spec = trained.federation.trained
    return [flatten(state, spec) for state in (*(one.state for one in contexts), trained.progress.state)]


def test_a_round_moves_its_coordinates_alone_and_another_round_others(
    seen: tuple[TrainedRun, list[RoundContext], list[LocalUpdate]],
) -> None:
    trained, contexts, _ = seen
    strategy, size = strategy_of(trained), trained.federation.trained.size
    kept = [strategy.kept(context) for context in contexts]
    assert [len(one) for one in kept] == [-(-size // 4)] * 3
    assert len({tuple(one) for one in kept}) == 3
    for chosen, (before, after) in zip(kept, pairwise(flat_states(trained, contexts)), strict=True):
        moved = np.flatnonzero(before != after)
        assert len(moved) > 10  # at first the head alone moves: it starts at zero, and nothing reaches the factors
        assert set(moved) <= set(chosen)


def test_the_step_is_the_mean_of_what_clients_trained(
    seen: tuple[TrainedRun, list[RoundContext], list[LocalUpdate]],
) -> None:
    trained, contexts, updates = seen
    spec, clients = trained.federation.trained, trained.federation.clients.values()
    weights = [1.0 if trained.federation.private else float(len(client.examples)) for client in clients]
    deltas = [np.concatenate([update.delta[name].reshape(-1) for name in spec.names]) for update in updates]
    states = flat_states(trained, contexts)
    for number, context in enumerate(contexts):
        own = deltas[number * len(weights) : (number + 1) * len(weights)]
        outside = np.setdiff1d(np.arange(spec.size), strategy_of(trained).kept(context))
        assert all((delta[outside] == 0).all() for delta in own)
        wanted = np.average(own, axis=0, weights=weights)
        np.testing.assert_allclose(states[number + 1] - states[number], wanted, atol=2e-4 * np.abs(wanted).max())


def test_a_quarter_of_the_values_is_a_quarter_of_the_upload(
    seen: tuple[TrainedRun, list[RoundContext], list[LocalUpdate]], tiny_config: MakeConfig, tmp_path: Path
) -> None:
    trained, _, _ = seen
    assert trained.federation.sent_values == -(-trained.federation.trained.size // 4)
    whole = trained.federation.config.to_dict()
    whole["aggregation"]["sent_share"] = 1.0
    with training_run(Config.model_validate(whole), tmp_path / "whole", resume=False, listen=ignore) as dense:
        full = dense.progress.records[0].upload_bytes
    packed = trained.federation.trained.size * 24 / 8
    assert full - trained.progress.records[0].upload_bytes > 0.7 * packed


def test_half_of_the_coordinates_are_those_that_moved_most(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config({**SPARSE, "aggregation.sent_values": "last_sum"})
    with watched(config, tmp_path / "run") as (trained, contexts, _):
        strategy, spec = strategy_of(trained), trained.federation.trained
        side = [name + ENDING for name in spec.names]
        assert all((contexts[0].state[name] == 0).all() for name in side)
        last = np.abs(np.concatenate([contexts[2].state[name].reshape(-1) for name in side]))
        kept = strategy.kept(contexts[2])
        half = len(kept) // 2
        least = np.sort(last)[-half]  # 0 where less has moved than half of them
        assert (last > 0).sum() > 10
        assert set(np.flatnonzero(last > least)) <= set(kept)
        assert (last[kept] >= least).sum() >= half
        before, after = (flatten(one, spec) for one in (contexts[0].state, contexts[1].state))
        np.testing.assert_allclose(
            np.concatenate([contexts[1].state[name].reshape(-1) for name in side]), after - before, atol=1e-6
        )
        saved = load((trained.directory.adapter / "adapter_model.safetensors").read_bytes())
        assert not any(ENDING in name for name in saved)


def test_coordinates_are_drawn_anew_in_every_attempt(
    seen: tuple[TrainedRun, list[RoundContext], list[LocalUpdate]],
) -> None:
    trained, contexts, _ = seen
    again = replace(contexts[0], plan=contexts[0].plan.model_copy(update={"attempt": 1}))
    strategy = strategy_of(trained)
    assert strategy.kept(contexts[0]).tolist() == strategy.kept(replace(contexts[0])).tolist()
    assert strategy.kept(again).tolist() != strategy.kept(contexts[0]).tolist()


def test_an_adaptive_server_leaves_frozen_values_where_they_are(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config({**SPARSE, "training.server_optimizer": "adamw"})
    with watched(config, tmp_path / "run") as (trained, contexts, _):
        for context, (before, after) in zip(contexts, pairwise(flat_states(trained, contexts)), strict=True):
            assert set(np.flatnonzero(before != after)) <= set(strategy_of(trained).kept(context))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"aggregation.strategy": "fedsvd"}, "'fedsvd' does not sum changes of the same coordinates .*fedit or ffa"),
        ({"aggregation.strategy": "product_sketch"}, "'product_sketch' does not sum changes"),
        ({"training.control_variates": True, "training.optimizer": "sgd"}, r"use aggregation\.sent_share = 1"),
        ({"aggregation.strategy": "ffa", "allocation.ranks": [2, 1, 2, 2, 2]}, "must train the whole module"),
        ({"privacy.unit": "client", "privacy.epsilon": 8.0}, 'use privacy.unit = "example"'),
    ],
)
def test_what_it_cannot_be_combined_with(overrides: dict[str, object], message: str, tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=message):
        check(tiny_config({**SPARSE, **overrides}))


@pytest.mark.parametrize("lie", [{"sent_share": 1.0}, {"sent_values": "last_sum"}])
def test_a_server_cannot_ask_for_other_coordinates(
    lie: dict[str, object], tiny_config: MakeConfig, tmp_path: Path
) -> None:
    with training_run(tiny_config(SPARSE), tmp_path / "run", resume=False, listen=ignore) as trained:
        agreed, client = trained.federation.agreed, next(iter(trained.federation.clients.values()))
        with pytest.raises(PolicyError, match="is not what was agreed"):
            client.policy.check(agreed.model_copy(update=lie), client=client.name, budget=trained.federation.budgets[0])


def test_attacks_that_read_whole_tensors_are_not_played_and_say_so(tiny_config: MakeConfig, tmp_path: Path) -> None:
    from attacks.suite.run import run_attacks

    heard: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            heard.append(event.text)

    config = tiny_config({**SPARSE, "attacks.run": ["span"]})
    with training_run(config, tmp_path / "run", resume=False, listen=ignore) as trained:
        assert run_attacks(trained, listen) == ()
    assert any("sends no changes of whole tensors" in text for text in heard)
