"""The main job: from a configuration to a trained run, and from there to its result."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import dp
import secagg
from fedpeft_secure import methods
from fedpeft_secure.clients.lower_layers import ActivationStore
from fedpeft_secure.config import Config
from fedpeft_secure.engines.base import Engine
from fedpeft_secure.engines.in_process import InProcess
from fedpeft_secure.errors import InputError
from fedpeft_secure.events import Listener, Notice, PhaseStarted, RunStarted
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.preflight import check
from fedpeft_secure.resolving import resolve
from fedpeft_secure.result import AttackRow, Result
from fedpeft_secure.rundir import RunDirectory, create_run, exclusive, open_run, shows_text, write_atomically
from fedpeft_secure.server.characteristics import check_charged
from fedpeft_secure.server.checkpoints import Progress, load_checkpoint
from fedpeft_secure.server.departures import check_affordable
from fedpeft_secure.server.evaluation import Predictions, predict
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.ledger_heads import check_ledger
from fedpeft_secure.server.loop import train_rounds
from fedpeft_secure.server.outcome import Measured, build_result

IN_PROCESS = InProcess()

Measure = Callable[[np.ndarray, np.ndarray], Measured]
"""(logits (n, classes), labels (n,)) → the figures of `Utility`."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainedRun:
    """A run whose rounds are done, before its test split is read.

    Args:
        federation: all parties.
        directory: the run directory.
        progress: the adapter and the records.
        seconds: set-up and training time of this process.
        examples_per_second: of the clients' training in this process.
    """

    federation: Federation = field(repr=False)
    directory: RunDirectory
    progress: Progress = field(repr=False)
    seconds: dict[str, float]
    examples_per_second: float

    @property
    def shows_text(self) -> bool:
        """Whether recovered text may appear in reports."""
        return shows_text(self.federation.config, public_text=self.federation.data.public_text)


Attack = Callable[[TrainedRun, Listener], tuple[AttackRow, ...]]
"""Plays the adversaries against a trained run."""


@contextmanager
def training_run(
    config: Config | None,
    root: Path,
    *,
    resume: bool,
    listen: Listener,
    store: ActivationStore | None = None,
    engine: Engine = IN_PROCESS,
) -> Iterator[TrainedRun]:
    """Trains in a run directory, whose lock and ledger stay open for as long as the block lasts.

    Args:
        config: the configuration; None when resuming, which takes the run's own.
        root: the run directory, new unless resuming.
        resume: whether to finish an interrupted run.
        listen: told about progress.
        store: of an earlier run on the same texts, for what frozen lower layers make of them.
        engine: where the clients are.

    Raises:
        InputError: If the configuration or the directory cannot be used.
        RunFailedError: If rounds keep failing.
    """
    started = time.perf_counter()
    directory, config = _open(config, root, resume=resume)
    path = _ledger_path(config, directory)
    with exclusive(directory), ExitStack() as stack:
        with _removed_on_bad_input(directory, new=not resume):
            ledger = stack.enter_context(dp.Ledger.open(path))
            federation = engine.gather(
                config, run=run_name(directory), ledger=ledger, ledger_path=path, listen=listen, store=store
            )
            stack.enter_context(federation.held)
            check_charged(config, ledger)
            if not resume:
                for notice in check_affordable(federation):
                    listen(Notice(text=notice))
        first = Progress(
            rounds_done=0,
            state=federation.start,
            optimizer=federation.optimizer,
            records=(),
        )
        progress = load_checkpoint(directory, federation.backbone.spec, first.optimizer) or first
        check_ledger(ledger, progress)
        listen(_headline(federation, progress))
        ready = time.perf_counter()
        progress = train_rounds(
            federation, directory, progress, engine=engine, record=_recorder(directory), listen=listen
        )
        methods.write_state(federation.backbone.model, progress.state)
        methods.save_adapter(federation.backbone.model, progress.state, directory.adapter)
        yield TrainedRun(
            federation=federation,
            directory=directory,
            progress=progress,
            seconds={"setup": ready - started, "rounds": time.perf_counter() - ready},
            examples_per_second=_throughput(federation),
        )


def finish(trained: TrainedRun, *, measure: Measure, attack: Attack, listen: Listener) -> Result:
    """Reads the test split, plays the attacks, and writes `result.json`."""
    started = time.perf_counter()
    federation, progress = trained.federation, trained.progress
    listen(PhaseStarted(name="reading the test split"))
    predictions: Predictions = predict(federation.backbone, progress.state, federation.test)
    tested = time.perf_counter()
    rows = attack(trained, listen)
    seconds = trained.seconds | {"test": tested - started, "attacks": time.perf_counter() - tested}
    result = build_result(
        federation,
        progress,
        measured=measure(predictions.logits, predictions.labels),
        attacks=rows,
        seconds=seconds,
        examples_per_second=trained.examples_per_second,
    )
    write_atomically(trained.directory.result, result.to_json().encode())
    return result


def run_name(directory: RunDirectory) -> str:
    """The run's name in plans and ledgers: fixed within a run directory, different between runs on one ledger."""
    path = directory.root / ".run-name"
    if not path.exists():
        # Random: two runs that share a ledger must never be taken for one another, whatever their seeds.
        write_atomically(path, np.random.default_rng().bytes(8).hex().encode())
    return path.read_text("utf-8")


def _open(config: Config | None, root: Path, *, resume: bool) -> tuple[RunDirectory, Config]:
    if not resume:
        if config is None:
            raise InputError("a new run needs a configuration")
        config = resolve(config)
        check(config)
        config = _with_absolute_ledger(config)
        return create_run(root, config), config
    directory, own = open_run(root)
    if directory.result.exists():
        raise InputError(f"--resume {root}: this run is finished; `fedpeft report {root}` writes its report")
    check(own)
    return directory, own


@contextmanager
def _removed_on_bad_input(directory: RunDirectory, *, new: bool) -> Iterator[None]:
    """Takes a new run directory away again when data, model or budgets turn out to be unusable: nothing ran in it."""
    try:
        yield
    except (InputError, dp.LedgerError):
        if new:
            shutil.rmtree(directory.root)
        raise


def _with_absolute_ledger(config: Config) -> Config:
    """A ledger must stay the same one, wherever a run is resumed from."""
    if config.privacy.ledger == "run":
        return config
    ledger = str(Path(config.privacy.ledger).expanduser().resolve())
    return config.model_copy(update={"privacy": config.privacy.model_copy(update={"ledger": ledger})})


def _ledger_path(config: Config, directory: RunDirectory) -> Path:
    return directory.ledger if config.privacy.ledger == "run" else Path(config.privacy.ledger)


def _recorder(directory: RunDirectory) -> Callable[[RoundPlan, secagg.Transcript], None]:
    """Keeps the transcript of the newest successful round: the one that is attacked."""

    def keep(plan: RoundPlan, transcript: secagg.Transcript) -> None:
        directory.transcript.mkdir(mode=0o700, exist_ok=True)
        path = directory.transcript / f"round-{plan.round:06d}.transcript"
        transcript.save(path)
        for older in directory.transcript.glob("round-*.transcript"):
            if older != path:
                older.unlink()

    return keep


def _headline(federation: Federation, progress: Progress) -> RunStarted:
    config, private = federation.config, federation.private
    largest = max(budget.epsilon for budget in federation.budgets)
    unit = "client" if config.privacy.unit == "client" else "example and client"
    guarantee = (
        f"ε ≤ {largest:g} per {unit} at δ = {config.privacy.delta:g}"
        if private
        else "NO PRIVACY BUDGET (epsilon = inf)"
    )
    return RunStarted(
        rounds=config.training.rounds,
        rounds_done=progress.rounds_done,
        clients=config.clients.count,
        private=private,
        headline=(
            f"{config.model.name} + {config.peft.description} on {federation.data.description}; "
            f"{config.clients.count} clients, {config.training.rounds} rounds, {federation.strategy.name} "
            f"({federation.strategy_reason}), {federation.config.secure_sum.protocol} sum; {guarantee}; "
            f"{federation.backbone.device.type}, {federation.backbone.precision}"
        ),
    )


def _throughput(federation: Federation) -> float:
    processed = sum(client.examples_processed for client in federation.clients.values())
    seconds = sum(client.training_seconds for client in federation.clients.values())
    return processed / seconds if seconds else 0.0
