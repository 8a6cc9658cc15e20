"""The whole thing: processes, TLS, node authentication. Slow, since Flower starts a process for every message."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch

import dp
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.events import ignore
from fedpeft_secure.result import RoundRecord
from fedpeft_secure.rundir import RunDirectory, read_rounds, read_run
from fedpeft_secure.server.job import training_run

from .conftest import POLICY, write_data
from .deployment import Deployment, deploy, wait_for_file
from .dropping import Dropping
from .proxy import Seen

pytest.importorskip("flwr")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

FOUR = {
    "clients.count": 4,
    "clients.per_round": 4,
    "secure_sum.server": "curious",
    "privacy.noise": "simulation",
    "attacks.run": [],
}

DEFAULT_TASK = {
    "clients": {"count": 4, "per_round": 4},
    "model": {"max_length": 32, "device": "cpu"},
    "peft": {"layers": 2},
    "training": {"rounds": 2, "sample_rate": 0.02, "nominal_batch": 40},
    "privacy": {"noise": "simulation"},
    "secure_sum": {"server": "curious"},  # four cannot bear one corrupt and one vanishing client under one that may lie
    "attacks": {"run": []},
}
"""MiniLM's packaged weights on Rotten Tomatoes, LoRA and ε = 8, as `fedpeft run` has them: two short rounds of the two
uppermost layers."""

ONE_ROUND = FOUR | {"training.rounds": 1}
SEVEN = ONE_ROUND | {"clients.count": 7, "clients.per_round": 7, "secure_sum.dropout_fraction": 0.5}
FIVE = ONE_ROUND | {"clients.count": 5, "clients.per_round": 5, "secure_sum.server": "malicious"}
VICTIMS = {"advertise": "client-2", "share": "client-3", "upload": "client-4", "unmask": "client-5"}
"""Who is killed before it can send which message; three of seven can still open the sum."""


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Starts a federation of four; everything is stopped at the end."""
    started: list[Deployment] = []

    def start(config: Config, *, watch: Mapping[str, Seen] = {}, deadline: float = 0.0) -> Deployment:
        deployment = deploy(tmp_path, config, POLICY, classes=write_data(tmp_path, config))
        started.append(deployment)
        deployment.start_superlink()
        for name in config.client_names:
            deployment.start_worker(name)
            deployment.register(name)
            if name in watch:
                deployment.watch(name, watch[name])
            deployment.start_supernode(name)
        for name in config.client_names:
            wait_for_file(tmp_path / name / "worker.sock", seconds=300)
        deployment.write_server(deadline=max(deadline, deployment.patience))
        return deployment

    yield start
    for deployment in started:
        deployment.stop()


def test_four_supernodes_train_the_adapter_of_the_in_process_engine_to_the_bit(
    deployed: Callable[..., Deployment], tmp_path: Path
) -> None:
    """The default task, privately, on a small slice; a stranger with the address and a key of its own gets nothing."""
    deployment = deployed(parse_config(DEFAULT_TASK), deadline=240.0)
    deployment.start_supernode("stranger", key="stranger", sockets=deployment.sockets["client-1"])
    deployment.run()
    deployment.wait_for("finished", seconds=1000)
    assert "SuperNode ID" in deployment.log("client-1")
    assert "SuperNode ID" not in deployment.log("stranger"), "nobody registered its key"
    here, there = in_process(deployment.config, tmp_path / "here"), read_rounds(RunDirectory(root=tmp_path / "run"))
    assert [record.model_hash for record in there] == [record.model_hash for record in here]
    assert len({record.model_hash for record in here}) == 2, "every round moves the adapter"
    assert [record.epsilon_spent for record in there] == [record.epsilon_spent for record in here]
    assert all(len(record.survivors) == 4 for record in there)
    run = read_run(tmp_path / "run")
    assert (run.config.model.name, run.config.data.name, run.config.privacy.epsilon) == ("minilm", "rotten_tomatoes", 8)
    assert run.result.utility.accuracy > 0


def test_a_supernode_and_the_server_are_killed_and_the_run_ends_with_the_right_sums(
    deployed: Callable[..., Deployment], tiny_config: Callable[..., Config], tmp_path: Path
) -> None:
    """client-2's machine dies when it is asked to upload in round 1, the server's within round 2."""
    asked: list[str] = []

    def seen(phase: str) -> None:
        asked.append(phase)
        if asked.count("upload") == 1 and phase == "upload":
            deployment.kill("client-2")
            deployment.kill("client-2.worker")

    deployment = deployed(tiny_config({**FOUR, "training.rounds": 3}), watch={"client-2": seen})
    deployment.run()
    deployment.wait_for("lost", seconds=700, party="client-2")
    deployment.start_worker("client-2")
    deployment.start_supernode("client-2")
    deployment.wait_for("phase", seconds=700, name="secure sum", round=2)
    deployment.kill("superlink")
    deployment.start_superlink()
    deployment.run(start="resume")
    deployment.wait_for("finished", seconds=700)
    first, second, third = read_rounds(RunDirectory(root=tmp_path / "run"))
    assert first.survivors == ("client-1", "client-3", "client-4")
    assert (second.failure, second.survivors) == ("the server stopped within this round", ())
    assert third.survivors
    for name in deployment.config.client_names:
        with dp.Ledger.read(tmp_path / f"{name}.sqlite") as ledger:
            releases = [(charge.release.round, charge.release.attempt) for charge in ledger.history(name)]
        assert len(set(releases)) == len(releases)
        assert all(attempt == 0 for _, attempt in releases)
    here = in_process(deployment.config, tmp_path / "here", drop={"upload": frozenset({"client-2"})})
    assert first.model_hash == here[0].model_hash, "the sum of the survivors, to the bit"


@pytest.mark.parametrize(("settings", "victims"), [(SEVEN, VICTIMS), (FIVE, {"confirm": "client-2"})])
def test_who_is_killed_in_any_phase_is_missing_from_the_sum_and_nothing_else_is(
    settings: dict[str, object],
    victims: dict[str, str],
    deployed: Callable[..., Deployment],
    tiny_config: Callable[..., Config],
    tmp_path: Path,
) -> None:
    """One machine dies before each message of the round: SuperNode and worker, at the moment when they are asked."""

    def dies_at(phase: str) -> Seen:
        def seen(asked: str) -> None:
            if asked == ("train" if phase == "advertise" else phase):
                deployment.kill(victims[phase])
                deployment.kill(f"{victims[phase]}.worker")

        return seen

    deployment = deployed(tiny_config(settings), watch={name: dies_at(phase) for phase, name in victims.items()})
    deployment.run()
    deployment.wait_for("finished", seconds=1200)
    lost = {(entry["party"], entry["order"]) for entry in deployment.events() if entry["event"] == "lost"}
    assert lost == {(name, "train" if phase == "advertise" else "step") for phase, name in victims.items()}
    silent = [name for phase, name in victims.items() if phase in ("advertise", "share", "upload")]
    [there] = read_rounds(RunDirectory(root=tmp_path / "run"))
    assert there.survivors == tuple(name for name in deployment.config.client_names if name not in silent)
    for name in deployment.config.client_names:
        with dp.Ledger.read(tmp_path / f"{name}.sqlite") as ledger:
            assert len(ledger.history(name)) == (name != victims.get("advertise")), "who was not asked was not charged"
    drop = {phase: frozenset({name}) for phase, name in victims.items()}
    [masked] = in_process(deployment.config, tmp_path / "masked", drop=drop)
    assert there.model_hash == masked.model_hash, "to the bit"
    plain = tiny_config(settings | {"secure_sum.protocol": "plain"})
    [summed] = in_process(plain, tmp_path / "plain", drop={"upload": frozenset(silent)})
    assert there.model_hash == summed.model_hash, "the plain sum of the survivors"


def in_process(config: Config, root: Path, *, drop: dict[str, frozenset[str]] | None = None) -> tuple[RoundRecord, ...]:
    """The rounds of the in-process engine, with these dropouts in every round."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers, since sums in another order have other last bits
    try:
        with training_run(config, root, resume=False, listen=ignore, engine=Dropping(drop or {})) as run:
            return run.progress.records
    finally:
        torch.set_num_threads(threads)
