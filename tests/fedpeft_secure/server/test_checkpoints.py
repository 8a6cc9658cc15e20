import os
from pathlib import Path

import numpy as np
import pytest

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role
from fedpeft_secure.aggregation.server_optimizers import FedAdamW, ServerOptimizer
from fedpeft_secure.errors import FedPeftError
from fedpeft_secure.result import LedgerHead, RoundRecord
from fedpeft_secure.rundir import RunDirectory
from fedpeft_secure.server.checkpoints import Progress, load_checkpoint, next_attempt, save_checkpoint

SPEC = AdapterSpec(entries=(Entry(name="head.weight", shape=(2, 3), role=Role.HEAD, module="head"),))
FRESH = FedAdamW(learning_rate=0.1)


def record(number: int) -> RoundRecord:
    return RoundRecord(
        round=number,
        attempt=0,
        survivors=("client-1", "client-2"),
        dropped=("client-3",),
        accuracy=0.5 if number % 2 else None,
        loss=None,
        epsilon_spent={"client-1": 0.1 * number, "client-2": float("inf")},
        ledger=LedgerHead(charges=8, digest="00" * 32),
        upload_bytes=3,
        download_bytes=4,
        seconds={"training": 0.25},
        model_hash="ab",
    )


def progress(rounds: int, *, steps: int = 2) -> Progress:
    values, optimizer = np.zeros(6), FRESH
    for step in range(steps):
        values, optimizer = optimizer.step(values, np.arange(6.0) + step)
    return Progress(
        rounds_done=rounds,
        state=AdapterState({"head.weight": values.reshape(2, 3)}),
        optimizer=optimizer,
        records=tuple(record(number) for number in range(1, rounds + 1)),
    )


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(root=tmp_path)


def load(directory: RunDirectory, optimizer: ServerOptimizer = FRESH) -> Progress | None:
    return load_checkpoint(directory, SPEC, optimizer)


@pytest.mark.parametrize("steps", [0, 2])
def test_everything_survives_the_round_trip(steps: int, directory: RunDirectory) -> None:
    saved = progress(3, steps=steps)
    save_checkpoint(directory, saved)
    loaded = load(directory)
    assert loaded is not None
    assert loaded.rounds_done == 3
    assert loaded.records == saved.records
    assert loaded.state.digest() == saved.state.digest()
    one, _ = saved.optimizer.step(np.ones(6), np.ones(6))
    two, _ = loaded.optimizer.step(np.ones(6), np.ones(6))
    assert (one == two).all()


def test_before_the_first_round_there_is_none(directory: RunDirectory) -> None:
    assert load(directory) is None


def test_the_newest_counts_and_the_one_before_is_kept(directory: RunDirectory) -> None:
    for rounds in range(1, 12):
        save_checkpoint(directory, progress(rounds))
    assert sorted(path.name for path in directory.checkpoints.iterdir()) == [
        "round-000010.safetensors",
        "round-000011.safetensors",
    ]
    loaded = load(directory)
    assert loaded is not None
    assert loaded.rounds_done == 11


def test_an_interrupted_write_leaves_the_round_before(directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(directory, progress(1))

    def fail(_: int) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="power cut"):
        save_checkpoint(directory, progress(2))
    loaded = load(directory)
    assert loaded is not None
    assert loaded.rounds_done == 1


def test_a_checkpoint_of_another_adapter_is_refused(directory: RunDirectory) -> None:
    save_checkpoint(directory, progress(1))
    other = AdapterSpec(entries=(Entry(name="head.weight", shape=(3, 2), role=Role.HEAD, module="head"),))
    with pytest.raises(FedPeftError, match="wrong shape"):
        load_checkpoint(directory, other, FRESH)


def test_simulated_noise_repeats_the_attempt(directory: RunDirectory) -> None:
    assert [next_attempt(directory, 1, repeatable=True) for _ in range(3)] == [0, 0, 0]


def test_secure_noise_never_starts_a_round_twice_under_one_number(directory: RunDirectory) -> None:
    assert [next_attempt(directory, 1, repeatable=False) for _ in range(3)] == [0, 1, 2]
    assert [next_attempt(directory, 2, repeatable=False) for _ in range(2)] == [0, 1]


def test_the_attempt_is_on_disk_before_anything_is_sent(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that cannot be recorded is none: the caller never learns an attempt to send under."""
    next_attempt(directory, 1, repeatable=False)

    def fail(_: int) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="power cut"):
            next_attempt(directory, 1, repeatable=False)
    assert next_attempt(directory, 1, repeatable=False) == 1
