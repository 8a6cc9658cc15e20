"""Checkpoints: after every round, all that the server needs to go on, written completely or not at all."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer
from fedpeft_secure.result import Departure, RoundRecord
from fedpeft_secure.rundir import RunDirectory, to_json, write_atomically

ADAPTER, OPTIMIZER = "adapter/", "optimizer/"
ATTEMPT = "attempt.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedAttempt:
    """A round, and how often it was started before."""

    round: int
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Progress:
    """Where the server stands between two rounds.

    Args:
        rounds_done: finished rounds.
        state: the adapter.
        optimizer: the server's optimiser.
        records: a record for each finished round.
        left: who left after the last of them, when the run could not go on.
        ended: why the run ended before its last round, or empty.
    """

    rounds_done: int
    state: AdapterState
    optimizer: ServerOptimizer
    records: tuple[RoundRecord, ...]
    left: tuple[Departure, ...] = ()
    ended: str = ""

    @property
    def departures(self) -> tuple[Departure, ...]:
        """Everybody who left, in order."""
        return (*(departure for record in self.records for departure in record.left), *self.left)


def save_checkpoint(directory: RunDirectory, progress: Progress) -> None:
    """Writes one file with everything; the checkpoint before the last one is removed."""
    directory.checkpoints.mkdir(exist_ok=True)
    arrays = {ADAPTER + name: value for name, value in progress.state.values.items()}
    arrays |= {OPTIMIZER + name: value for name, value in progress.optimizer.arrays().items()}
    records = json.dumps([record.model_dump(mode="json") for record in progress.records])
    write_atomically(_path(directory, progress.rounds_done), save_safetensors(arrays, metadata={"records": records}))
    _path(directory, progress.rounds_done - 2).unlink(missing_ok=True)


def load_checkpoint(directory: RunDirectory, spec: AdapterSpec, optimizer: ServerOptimizer) -> Progress | None:
    """The newest checkpoint, or None before the end of the first round."""
    files = sorted(directory.checkpoints.glob("round-*.safetensors"))
    if not files:
        return None
    data = files[-1].read_bytes()
    arrays = load_safetensors(data)
    records = json.loads(_metadata(data)["records"])
    adapter = {name.removeprefix(ADAPTER): value for name, value in arrays.items() if name.startswith(ADAPTER)}
    memory = {name.removeprefix(OPTIMIZER): value for name, value in arrays.items() if name.startswith(OPTIMIZER)}
    return Progress(
        rounds_done=len(records),
        state=AdapterState.from_bytes(AdapterState(adapter).to_bytes(), spec),
        optimizer=optimizer.restore({name: np.array(value) for name, value in memory.items()}),
        records=tuple(RoundRecord.model_validate(record) for record in records),
    )


def next_attempt(directory: RunDirectory, round_number: int, *, repeatable: bool) -> int:
    """The attempt number of a round that is about to start, recorded before anything is sent.

    Guarantee: where noise is not repeatable, no two starts of the same round share an attempt number, so a round that
    was interrupted after an upload is closed for good and its repetition is a new, separately charged release.
    """
    directory.checkpoints.mkdir(exist_ok=True)
    before = started_attempt(directory)
    again = before is not None and before.round == round_number and not repeatable
    attempt = before.attempt + 1 if before is not None and again else 0
    write_atomically(directory.checkpoints / ATTEMPT, to_json({"round": round_number, "attempt": attempt}))
    return attempt


def started_attempt(directory: RunDirectory) -> StartedAttempt | None:
    """The round that was started last, finished or not; None before the first."""
    path = directory.checkpoints / ATTEMPT
    if not path.exists():
        return None
    found = json.loads(path.read_bytes())
    return StartedAttempt(round=found["round"], attempt=found["attempt"])


def _path(directory: RunDirectory, rounds_done: int) -> Path:
    return directory.checkpoints / f"round-{rounds_done:06d}.safetensors"


def _metadata(data: bytes) -> dict[str, str]:
    """The text fields in a safetensors header."""
    length = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata
