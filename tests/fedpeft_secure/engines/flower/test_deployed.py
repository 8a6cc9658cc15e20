"""The whole thing: processes, TLS, node authentication. Slow, since Flower starts a process for every message."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedpeft_secure.config import Config
from fedpeft_secure.engines.in_process import InProcess
from fedpeft_secure.events import ignore
from fedpeft_secure.rundir import RunDirectory, read_rounds, read_run
from fedpeft_secure.server.job import training_run

from .conftest import POLICY, write_data
from .deployment import Deployment, deploy, wait_for_file

pytest.importorskip("flwr")
pytestmark = pytest.mark.slow

FOUR = {
    "clients.count": 4,
    "clients.per_round": 4,
    "secure_sum.server": "curious",
    "privacy.noise": "simulation",
    "attacks.run": [],
}


@pytest.fixture
def deployed(tiny_config: Callable[..., Config], tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Starts a federation of four; everything is stopped at the end."""
    started: list[Deployment] = []

    def start(overrides: dict[str, object] | None = None) -> Deployment:
        config = tiny_config({**FOUR, **(overrides or {})})
        write_data(tmp_path, config)
        deployment = deploy(tmp_path, config, POLICY)
        started.append(deployment)
        deployment.start_superlink()
        for name in config.client_names:
            deployment.start_worker(name)
            deployment.register(name)
            deployment.start_supernode(name)
        for path in deployment.sockets.values():
            wait_for_file(path)
        return deployment

    yield start
    for deployment in started:
        deployment.stop()


def test_four_supernodes_train_the_adapter_of_the_in_process_engine_to_the_bit(
    deployed: Callable[..., Deployment], tmp_path: Path
) -> None:
    deployment = deployed()
    deployment.run()
    deployment.wait_for("finished", seconds=280)
    with training_run(deployment.config, tmp_path / "here", resume=False, listen=ignore, engine=InProcess()) as here:
        hashes = [record.model_hash for record in here.progress.records]
    there = read_rounds(RunDirectory(root=tmp_path / "run"))
    assert [record.model_hash for record in there] == hashes
    assert all(len(record.survivors) == 4 for record in there)
    assert read_run(tmp_path / "run").result.utility.accuracy > 0
