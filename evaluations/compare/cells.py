"""One cell of a comparison: an arm at a seed, run once and kept, so that an interrupted comparison goes on."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from attacks.errors import AttackError
from attacks.suite import run_attacks
from evaluations.compare.arms import Arm
from evaluations.compare.flops import client_round_flops
from evaluations.compare.solo import CENTRAL_BATCH, centralised_steps, fit, local_steps
from evaluations.metrics import classification
from evaluations.training import begin_new_peak, measured_run
from fedpeft_secure.clients.backbone import load_backbone
from fedpeft_secure.clients.batches import tokenise
from fedpeft_secure.clients.lower_layers import ActivationStore
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import dump_config
from fedpeft_secure.data import LabelledTexts, load
from fedpeft_secure.errors import InputError
from fedpeft_secure.events import Listener, Notice
from fedpeft_secure.models import load_tokenizer
from fedpeft_secure.result import AttackRow
from fedpeft_secure.rundir import write_atomically
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.evaluation import predict
from fedpeft_secure.server.job import TrainedRun
from fedpeft_secure.server.outcome import peak_memory_bytes

RECORD = "cell.json"


class Cell(BaseModel):
    """What one training gave.

    Args:
        arm, seed: which it was.
        configuration: digest of its configuration: a cell of another one is not taken for this.
        strategy: after "auto" was decided; empty without a server.
        correct: a 0 or 1 for each test example, in order: differences between arms are paired by example.
        models: how many models the answers are averaged over: the clients', where each trains alone.
        precision, recall, f1: macro averages on the test split; None in cells of earlier versions.
        upload_bytes, download_bytes: per client and round.
        flops: of a client in a round, by the cost model; None for methods that it does not know, and without rounds.
        peak_memory_bytes: of the process.
        attacks: what the red team got; empty where it stayed at home.
        epsilon: the largest spent; None without a budget.
        seconds: of training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arm: str
    seed: int
    configuration: str
    strategy: str = ""
    correct: tuple[float, ...] = ()
    models: int = 1
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    upload_bytes: int | None = None
    download_bytes: int | None = None
    flops: float | None = None
    peak_memory_bytes: int | None = None
    attacks: tuple[AttackRow, ...] = ()
    epsilon: float | None = None
    seconds: float = 0.0

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(np.mean(self.correct))


def cell(
    arm: Arm,
    base: Config,
    *,
    seed: int,
    folder: Path,
    store: ActivationStore,
    listen: Listener,
    attacks: Sequence[str] = (),
) -> Cell:
    """Runs the cell, or reads it where it was run before.

    Args:
        arm: what is trained.
        base: the comparison's configuration.
        seed: of partition, sampling and noise.
        folder: of this cell alone.
        store: of the cells of this seed, for what frozen lower layers make of the texts.
        listen: told about progress.
        attacks: names, as in `attacks.run`; baselines without a server send nothing to attack.

    Raises:
        InputError: If the folder holds a cell of another configuration.
    """
    config = arm.config(base, seed=seed, attacks=attacks)
    digest = hashlib.sha256(dump_config(config).encode()).hexdigest()[:16]
    path = folder / RECORD
    if path.is_file():
        kept = Cell.model_validate_json(path.read_text("utf-8"))
        if kept.configuration != digest:
            raise InputError(
                f"--out {folder.parent.parent}: {folder} was made with other settings; give a new directory"
            )
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    trained = _federated if arm.kind == "federated" else _solo
    blank = Cell(arm=arm.name, seed=seed, configuration=digest)
    made = trained(arm, config, blank, folder=folder, store=store, listen=listen)
    write_atomically(path, made.model_dump_json().encode())
    return made


def _federated(
    arm: Arm, config: Config, blank: Cell, *, folder: Path, store: ActivationStore, listen: Listener
) -> Cell:
    del arm
    found = measured_run(config, folder / "run", attack=_where_it_can, store=store, listen=listen)
    result = found.result
    spent = [row.epsilon_spent for row in result.privacy.clients]
    made = {
        "strategy": result.setup.strategy,
        "correct": found.correct,
        "precision": result.utility.precision,
        "recall": result.utility.recall,
        "f1": result.utility.f1,
        "upload_bytes": result.communication.upload_bytes,
        "download_bytes": result.communication.download_bytes,
        "epsilon": max(spent) if result.privacy.private else None,
        "flops": client_round_flops(config, result.setup),
        "peak_memory_bytes": result.compute.peak_memory_bytes,
        "attacks": tuple(row.model_copy(update={"texts": ()}) for row in result.attacks),
        "seconds": result.compute.seconds["total"],
    }
    return blank.model_copy(update=made)


def _where_it_can(trained: TrainedRun, listen: Listener) -> tuple[AttackRow, ...]:
    """The configured attacks; an arm whose messages they cannot read has none, and is no less an arm."""
    try:
        return run_attacks(trained, listen)
    except AttackError as error:
        listen(Notice(text=f"not attacked: {error}"))
        return ()


def _solo(arm: Arm, config: Config, blank: Cell, *, folder: Path, store: ActivationStore, listen: Listener) -> Cell:
    del folder, listen
    begin_new_peak()
    started = time.perf_counter()
    data = load(config.data, clients=config.clients.count, seed=Seed(config.seed))
    tokenizer = load_tokenizer(config.model)
    backbone, start = load_backbone(config, num_labels=len(data.classes), classes=data.classes, store=store)
    training, length = config.training, config.model.max_length
    if arm.kind == "centralised":
        sets = [_joined(data.clients)]
        steps, batch = centralised_steps(training, per_round=config.clients.per_round), CENTRAL_BATCH
    else:
        sets, steps, batch = list(data.clients), local_steps(training), training.nominal_batch
    test = tokenise(data.test, tokenizer, max_length=length)
    answers, scores = [], []
    for number, texts in enumerate(sets):
        examples = tokenise(texts, tokenizer, max_length=length)
        rng = Seed(config.seed).child("compare", arm.name, number)
        state = fit(backbone, start, examples, steps=steps, batch=batch, training=training, rng=rng)
        found = predict(backbone, state, test)
        answers.append(found.logits.argmax(axis=1) == found.labels)
        scores.append(classification(found.logits, found.labels))
    made = {
        "correct": tuple(np.mean(answers, axis=0).tolist()),
        "models": len(sets),
        "precision": float(np.mean([score.precision for score in scores])),
        "recall": float(np.mean([score.recall for score in scores])),
        "f1": float(np.mean([score.f1 for score in scores])),
        "peak_memory_bytes": peak_memory_bytes(),
        "seconds": time.perf_counter() - started,
    }
    return blank.model_copy(update=made)


def _joined(parts: tuple[LabelledTexts, ...]) -> LabelledTexts:
    texts = tuple(text for part in parts for text in part.texts)
    return LabelledTexts(texts=texts, labels=np.concatenate([part.labels for part in parts]))
