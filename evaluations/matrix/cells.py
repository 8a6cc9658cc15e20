"""Trainings and attacks of a matrix, each kept on disk as soon as it is done, so that an interrupted one goes on."""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from attacks.suite import run_attacks
from attacks.suite.reopen import reopened
from evaluations.compare.arms import Arm
from evaluations.matrix.results import DefenceRow, MatrixCell
from evaluations.metrics import classification
from evaluations.training import no_attack
from fedpeft_secure.clients.lower_layers import ActivationStore
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import dump_config
from fedpeft_secure.errors import RunDirectoryError
from fedpeft_secure.events import Listener
from fedpeft_secure.result import AttackRow, Record, Result
from fedpeft_secure.rundir import RunDirectory, write_atomically
from fedpeft_secure.server.job import finish, training_run

CONFIGURATION = "configuration.sha256"


class AttackRecord(Record):
    """What one attack got of one training, under all views; `rows` are as the attack reported them."""

    rows: tuple[AttackRow, ...]


def trained(arm: Arm, base: Config, *, folder: Path, store: ActivationStore, listen: Listener) -> Result:
    """Trains a defence, goes on where its training was cut off, or reads what it gave.

    Raises:
        InputError: If the configuration cannot be used, or the folder holds a training of another one.
        RunFailedError: If rounds keep failing.
    """
    config = arm.config(base, seed=base.seed)
    _claim(folder, config)
    directory = RunDirectory(root=folder / "run")
    if directory.result.is_file():
        return Result.from_json(directory.result.read_text("utf-8"))
    resume = directory.config.is_file()
    with training_run(None if resume else config, directory.root, resume=resume, listen=listen, store=store) as run:
        return finish(run, measure=classification, attack=no_attack, listen=listen)


def attacked(attack: str, *, folder: Path, listen: Listener) -> tuple[AttackRow, ...]:
    """Plays one attack on a trained defence as `fedpeft attack` does, or reads what it gave.

    Raises:
        RunDirectoryError: If a record cannot be read.
        AttackError: If the attack cannot be played.
    """
    path = folder / f"{attack}.json"
    if path.is_file():
        try:
            return AttackRecord.model_validate_json(path.read_bytes()).rows
        except ValidationError:
            raise RunDirectoryError(f"--out: {path} cannot be read; remove it, or give a new directory") from None
    with reopened(folder / "run", overrides=[f'attacks.run=["{attack}"]'], listen=listen) as run:
        rows = run_attacks(run, listen)
    write_atomically(path, AttackRecord(rows=rows).model_dump_json().encode())
    return rows


def _claim(folder: Path, config: Config) -> None:
    """Makes sure that the folder is of this configuration alone."""
    path, own = folder / CONFIGURATION, hashlib.sha256(dump_config(config).encode()).hexdigest()
    if path.is_file() and path.read_text("utf-8") != own:
        raise RunDirectoryError(f"--out: {folder} was made with other settings; give a new directory")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, own.encode())


def defence_row(arm: Arm, base: Config, found: Result) -> DefenceRow:
    """A training's costs."""
    config = arm.config(base, seed=base.seed)
    private = found.privacy.private
    return DefenceRow(
        defence=arm.name,
        changes={key: str(value) for key, value in arm.changes.items()},
        strategy=found.setup.strategy,
        protocol=found.setup.protocol,
        rank=config.peft.rank,
        cohort=config.clients.per_round,
        accuracy=found.utility.accuracy,
        majority_baseline=found.utility.majority_baseline,
        upload_bytes=found.communication.upload_bytes,
        seconds=found.compute.seconds["total"],
        epsilon=max(row.epsilon_spent for row in found.privacy.clients) if private else None,
        delta=found.privacy.clients[0].delta if private else None,
        unit=found.privacy.unit,
    )


def matrix_cell(defence: str, row: AttackRow) -> MatrixCell:
    """A run's attack row as a cell; recovered texts stay in the run's own report."""
    note = row.note or ("" if row.value is not None else "not measured")
    return MatrixCell(
        attack=row.attack,
        view=row.view,
        defence=defence,
        replay=row.replay,
        metric=row.metric,
        value=row.value,
        low=row.low,
        high=row.high,
        null=row.null,
        note=note,
    )
