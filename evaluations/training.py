"""One training in a directory of its own, measured: the piece that sweeps and comparisons are made of."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evaluations.metrics import Classification, classification
from fedpeft_secure.clients.lower_layers import ActivationStore
from fedpeft_secure.config import Config
from fedpeft_secure.errors import InputError
from fedpeft_secure.events import Event, Listener, Notice
from fedpeft_secure.result import AttackRow, Result
from fedpeft_secure.rundir import RunDirectory, open_run
from fedpeft_secure.server.job import Attack, TrainedRun, finish, training_run

PEAK = Path("/proc/self/clear_refs")
"""Where Linux is told to begin a new peak of this process's memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a training gave; `correct` has a 0 or 1 for each test example, in order."""

    result: Result
    correct: tuple[float, ...] = field(repr=False)


def require_simulation(config: Config, command: str) -> None:
    """Refuses secret noise where many trainings of the same data are compared, some of them without a budget.

    Raises:
        InputError: Names the setting and the remedy.
    """
    if config.privacy.noise == "secure":
        raise InputError(
            f"privacy.noise: {command} trains on the same data again and again, also without a budget; with secure "
            'noise every training spends real budget, all of them together; use noise = "simulation"'
        )


def measured_run(config: Config, root: Path, *, attack: Attack, store: ActivationStore, listen: Listener) -> Measured:
    """Trains a configuration in `root`; what was cut off there goes on, and what is there otherwise is replaced.

    The adapter, the ledger and `result.json` stay; transcripts and checkpoints go.

    Args:
        config: resolved, with an absolute ledger.
        root: of this training alone.
        attack: what the red team does.
        store: of what frozen lower layers make of the texts.
        listen: told about progress.

    Raises:
        InputError: If the configuration cannot be used.
        RunFailedError: If rounds keep failing.
    """
    correct: list[float] = []

    def measure(logits: np.ndarray, labels: np.ndarray) -> Classification:
        correct.extend((logits.argmax(axis=1) == labels).astype(float).tolist())
        return classification(logits, labels)

    resume = _was_cut_off(root, config)
    if root.exists() and not resume:
        shutil.rmtree(root)
    begin_new_peak()
    with training_run(None if resume else config, root, resume=resume, listen=listen, store=store) as trained:
        result = finish(trained, measure=measure, attack=attack, listen=listen)
    directory = RunDirectory(root=root)
    for leftover in (directory.transcript, directory.checkpoints):
        shutil.rmtree(leftover, ignore_errors=True)
    return Measured(result=result, correct=tuple(correct))


def no_attack(trained: TrainedRun, listen: Listener) -> tuple[AttackRow, ...]:
    """Leaves the red team at home."""
    del trained, listen
    return ()


def without_notices(listen: Listener) -> Listener:
    """A cell's own progress without its notices, which would be repeated for every cell."""

    def forward(event: Event) -> None:
        if not isinstance(event, Notice):
            listen(event)

    return forward


def _was_cut_off(root: Path, config: Config) -> bool:
    """Whether this very training was begun there and not finished."""
    directory = RunDirectory(root=root)
    if directory.result.exists() or not directory.config.is_file():
        return False
    return open_run(root)[1] == config


def begin_new_peak() -> None:
    """Lets `peak_memory_bytes` speak of this training, where the system can: several share a process."""
    try:
        PEAK.write_text("5")
    except OSError:
        return
