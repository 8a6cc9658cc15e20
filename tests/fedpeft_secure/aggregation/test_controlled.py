from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from fedpeft_secure import Config
from fedpeft_secure.adapters import AdapterState, Role
from fedpeft_secure.aggregation.controlled import ENDING
from fedpeft_secure.clients import trainer as trainer_module
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.clients.training import LocalTask, LocalUpdate, train_locally
from fedpeft_secure.errors import ConfigError, PolicyError
from fedpeft_secure.events import ignore
from fedpeft_secure.preflight import check
from fedpeft_secure.server.job import TrainedRun, training_run

MakeConfig = Callable[..., Config]
CONTROLLED = {
    "training.control_variates": True,
    "training.local_steps": 3,
    "training.server_optimizer": "sgd",
    "training.server_learning_rate": 1.0,
    "training.server_schedule": "constant",
    "secure_sum.bits": 24,
    "aggregation.strategy": "fedit",
    "privacy.epsilon": "inf",
}


Updates = dict[str, list[LocalUpdate]]


@contextmanager
def watched_updates(config: Config, folder: Path) -> Iterator[tuple[TrainedRun, Updates]]:
    """A run, and what each of its clients has trained round by round."""
    seen: list[tuple[int, LocalUpdate]] = []

    def spy(backbone: Backbone, state: AdapterState, examples: Examples, task: LocalTask) -> LocalUpdate:
        seen.append((id(examples), train_locally(backbone, state, examples, task)))
        return seen[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "train_locally", spy)
        with training_run(config, folder, resume=False, listen=ignore) as run:
            clients = run.federation.clients
            yield run, {n: [update for whose, update in seen if whose == id(c.examples)] for n, c in clients.items()}


def remembered(trained: TrainedRun, round_number: int) -> dict[str, dict[str, np.ndarray]]:
    """c_k by client, as each round left it."""
    return {
        name: load((client.own.folder / f"round-{round_number:06d}-attempt-000.safetensors").read_bytes())
        for name, client in trained.federation.clients.items()
    }


@pytest.fixture(scope="module", params=[{"privacy.epsilon": "inf"}, {"privacy.epsilon": 8.0}], ids=["open", "private"])
def watched(
    request: pytest.FixtureRequest, tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TrainedRun, Updates]]:
    config = tiny_config({**CONTROLLED, **request.param})
    with watched_updates(config, tmp_path_factory.mktemp("runs") / "run") as run:
        yield run


@pytest.fixture(scope="module")
def trained(watched: tuple[TrainedRun, Updates]) -> TrainedRun:
    return watched[0]


def test_the_server_reads_the_mean_of_the_clients_variates_off_the_sum(trained: TrainedRun) -> None:
    state, kept = trained.progress.state, remembered(trained, 2)
    clients = trained.federation.clients
    private = trained.federation.private
    weights = {name: 1.0 if private else float(len(client.examples)) for name, client in clients.items()}
    for name in trained.federation.trained.names:
        mean = sum(weights[client] * kept[client][name + ENDING] for client in kept) / sum(weights.values())
        scale = max(float(np.abs(mean).max()), 1e-3)
        np.testing.assert_allclose(state[name + ENDING], mean, atol=0.02 * scale)


def test_every_client_goes_down_its_gradients_plus_c_minus_its_own(watched: tuple[TrainedRun, Updates]) -> None:
    trained, updates = watched
    before, after = remembered(trained, 1), remembered(trained, 2)
    clients, plan = trained.federation.clients, trained.federation.agreed
    weights = {name: 1.0 if plan.private else float(len(client.examples)) for name, client in clients.items()}
    for name in trained.federation.trained.names:
        variates = {client: kept[name + ENDING] for client, kept in before.items()}
        shared = sum(weights[client] * value for client, value in variates.items()) / sum(weights.values())
        for client in clients:
            down = after[client][name + ENDING] + shared - variates[client]
            wanted = -plan.local_steps * plan.learning_rate * down
            scale = max(float(np.abs(wanted).max()), 1e-3)
            np.testing.assert_allclose(updates[client][1].delta[name], wanted, atol=0.03 * scale)


def test_nothing_but_the_model_update_is_sent_and_c_comes_with_the_model(trained: TrainedRun) -> None:
    federation = trained.federation
    controls = [entry for entry in federation.backbone.spec.entries if entry.role is Role.CONTROL]
    assert sum(entry.size for entry in controls) == federation.trained.size
    assert not any(entry.role is Role.CONTROL for entry in federation.trained.entries)
    assert all((federation.start[entry.name] == 0).all() for entry in controls)


def test_the_saved_adapter_is_the_methods_own(trained: TrainedRun) -> None:
    saved = load((trained.directory.adapter / "adapter_model.safetensors").read_bytes())
    assert not any(ENDING in name for name in saved)
    assert set(saved) == {name for name in trained.progress.state.values if ENDING not in name}


def test_a_run_that_was_cut_off_ends_the_same(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config(CONTROLLED)
    with training_run(config, tmp_path / "whole", resume=False, listen=ignore) as whole:
        wanted = whole.progress.state.digest()
    cut = tmp_path / "cut"

    class Stop(Exception):  # noqa: N818 - not an error
        pass

    def stop_in_the_second_round(event: object) -> None:
        if getattr(event, "round", 0) == 2 and getattr(event, "client", "") == "client-3":
            raise Stop

    with pytest.raises(Stop), training_run(config, cut, resume=False, listen=stop_in_the_second_round):
        pass
    with training_run(None, cut, resume=True, listen=ignore) as resumed:
        assert resumed.progress.state.digest() == wanted


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"aggregation.strategy": "fedsvd"}, "'fedsvd' does not sum changes of the same coordinates .*fedit or ffa"),
        ({"aggregation.strategy": "flexlora"}, "'flexlora' does not sum changes"),
        ({"training.optimizer": "adamw"}, 'corrects plain gradient steps; use training.optimizer = "sgd"'),
        ({"training.proximal": 0.1}, "and proximal = 0"),
        ({"aggregation.strategy": "ffa", "allocation.ranks": [2, 1, 2, 2, 2]}, "must train the whole module"),
    ],
)
def test_what_it_cannot_be_combined_with(overrides: dict[str, object], message: str, tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=message):
        check(tiny_config({**CONTROLLED, **overrides}))


def test_a_server_cannot_switch_it_off_in_the_middle(trained: TrainedRun) -> None:
    agreed = trained.federation.agreed
    assert agreed.control_variates
    policy = next(iter(trained.federation.clients.values())).policy
    lying = agreed.model_copy(update={"control_variates": False})
    with pytest.raises(PolicyError, match="control_variates is not what was agreed"):
        policy.check(lying, client="client-1", budget=trained.federation.budgets[0])
