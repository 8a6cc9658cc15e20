from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from fedpeft_secure import Config, run
from fedpeft_secure.adapters import Role
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.events import ignore
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.job import TrainedRun, training_run
from tests.fedpeft_secure.aggregation.test_controlled import watched_updates

MakeConfig = Callable[..., Config]
MakeFederation = Callable[..., Federation]
SETTINGS = {
    "secure_sum.bits": 24,
    "training.server_optimizer": "sgd",
    "training.server_learning_rate": 1.0,
    "training.local_steps": 2,
}
KEPT = {"fedsa": Role.LORA_B, "fedper": Role.HEAD}


def trained_run(config: Config, folder: Path) -> TrainedRun:
    with training_run(config, folder, resume=False, listen=ignore) as trained:
        return trained


@pytest.fixture(scope="module", params=[(name, epsilon) for name in KEPT for epsilon in ("inf", 8.0)])
def trained(
    request: pytest.FixtureRequest, tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> TrainedRun:
    name, epsilon = request.param
    config = tiny_config({**SETTINGS, "aggregation.strategy": name, "privacy.epsilon": epsilon})
    return trained_run(config, tmp_path_factory.mktemp("runs") / "run")


def own_values(trained: TrainedRun, round_number: int) -> dict[str, dict[str, np.ndarray]]:
    return {
        name: load((client.own.folder / f"round-{round_number:06d}-attempt-000.safetensors").read_bytes())
        for name, client in trained.federation.clients.items()
    }


def test_every_client_has_its_own_and_the_shared_ones_never_move(trained: TrainedRun) -> None:
    federation = trained.federation
    kept = federation.backbone.spec.only((KEPT[federation.strategy.name],)).names
    values = own_values(trained, 2)
    for name in kept:
        assert (trained.progress.state[name] == federation.start[name]).all()
        assert len({values[client][name].tobytes() for client in values}) == len(values)
    shared = set(federation.backbone.spec.names) - set(kept)
    assert any((trained.progress.state[name] != federation.start[name]).any() for name in shared)


def test_what_is_kept_is_not_sent(trained: TrainedRun) -> None:
    federation = trained.federation
    kept = federation.backbone.spec.only((KEPT[federation.strategy.name],)).size
    assert federation.trained.size == federation.backbone.spec.size - kept
    assert not set(federation.trained.names) & set(next(iter(own_values(trained, 2).values())))


@pytest.mark.parametrize("name", list(KEPT))
def test_the_next_round_starts_from_what_was_kept(name: str, tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config({**SETTINGS, "aggregation.strategy": name})
    with watched_updates(config, tmp_path / "run") as (trained, updates):
        first, second = own_values(trained, 1), own_values(trained, 2)
        for client, (_, update) in updates.items():
            for tensor, value in second[client].items():
                np.testing.assert_allclose(value, first[client][tensor] + update.delta[tensor], atol=1e-6)


def test_nothing_to_keep_or_nothing_to_share_is_refused(make_federation: MakeFederation, tiny_llama: Path) -> None:
    with pytest.raises(ConfigError, match="leaves every client its own head, and here is nothing but the head"):
        make_federation({**SETTINGS, "aggregation.strategy": "fedper", "peft.method": "head"})
    with pytest.raises(ConfigError, match="leaves every client its own head, and there is none; use"):
        make_federation({**SETTINGS, "aggregation.strategy": "fedper", "model.name": str(tiny_llama)})


def test_clients_are_measured_on_held_out_data_of_their_own(tiny_config: MakeConfig, tmp_path: Path) -> None:
    overrides = {**SETTINGS, "aggregation.strategy": "fedper", "privacy.epsilon": "inf", "attacks.run": []}
    result = run(tiny_config({**overrides, "data.client_test_fraction": 0.3}), out=tmp_path / "run")
    assert result.personal is not None
    assert [row.client for row in result.personal.clients] == [f"client-{number}" for number in range(1, 6)]
    assert any(row.accuracy != row.shared_accuracy for row in result.personal.clients)
    assert result.personal.accuracy == pytest.approx(np.mean([row.accuracy for row in result.personal.clients]))
    assert run(tiny_config(overrides), out=tmp_path / "none").personal is None


def test_one_model_for_all_is_as_good_for_a_client_as_the_shared_one(tiny_config: MakeConfig, tmp_path: Path) -> None:
    result = run(tiny_config({"data.client_test_fraction": 0.3, "attacks.run": []}), out=tmp_path / "run")
    assert result.personal is not None
    assert all(row.accuracy == row.shared_accuracy for row in result.personal.clients)
