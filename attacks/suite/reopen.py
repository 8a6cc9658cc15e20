"""A finished run opened again: its parties from its configuration, its messages from its transcript."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dp
import secagg
from attacks.errors import AttackError
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import load_config
from fedpeft_secure.engines.rounds import TRAIN
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.events import Listener
from fedpeft_secure.plans import unpack_request
from fedpeft_secure.result import AttackRow
from fedpeft_secure.rundir import RunDirectory, read_run, shows_text, write_atomically
from fedpeft_secure.server.checkpoints import Progress, load_checkpoint
from fedpeft_secure.server.federation import Federation, build_federation
from fedpeft_secure.server.job import TrainedRun, run_name


@contextmanager
def parties(config: Config, *, run: str, listen: Listener) -> Iterator[Federation]:
    """All parties of a configuration, with a throw-away ledger: attacks charge nobody."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        with dp.Ledger.open(path) as ledger:
            yield build_federation(config, run=run, ledger=ledger, ledger_path=path, listen=listen)


@contextmanager
def reopened(root: Path, *, overrides: Sequence[str], listen: Listener) -> Iterator[TrainedRun]:
    """A finished run as it was after training.

    Args:
        root: the run directory.
        overrides: changes of `attacks.` keys; anything else would make it another run.
        listen: told about progress.

    Raises:
        ConfigError: If another key is changed.
        RunDirectoryError: If there is no finished run.
    """
    wrong = [item for item in overrides if not item.strip().startswith("attacks.")]
    if wrong:
        raise ConfigError(f"--set {wrong[0]!r}: a finished run is attacked as it was; only attacks.* can be changed")
    saved = read_run(root)
    config = load_config(saved.directory.config, overrides=overrides)
    with parties(config, run=run_name(saved.directory), listen=listen) as federation:
        yield TrainedRun(
            federation=federation,
            directory=saved.directory,
            progress=_trained(saved.directory, federation),
            seconds={},
            examples_per_second=0.0,
        )


def _trained(directory: RunDirectory, federation: Federation) -> Progress:
    """Where training ended; its start where the checkpoints were removed, which only attacks on the model miss."""
    found = load_checkpoint(directory, federation.backbone.spec, federation.optimizer)
    start = Progress(rounds_done=0, state=federation.start, optimizer=federation.optimizer, records=())
    return start if found is None else found


def keep_rows(root: Path, rows: tuple[AttackRow, ...]) -> None:
    """Puts new rows into a finished run's result, in place of those of the same attacks."""
    saved = read_run(root)
    played = {row.attack for row in rows}
    others = tuple(row for row in saved.result.attacks if row.attack not in played)
    result = saved.result.model_copy(update={"attacks": rows + others})
    write_atomically(saved.directory.result, result.to_json().encode())


def sent_out(trained: TrainedRun) -> AdapterState:
    """The adapter that the server sent out in the recorded round.

    Raises:
        AttackError: If no round was recorded.
    """
    recorded = sorted(trained.directory.transcript.glob("round-*.transcript"))
    if not recorded:
        raise AttackError(f"{trained.directory.transcript} holds no recorded round; attacks need one")
    request = secagg.Transcript.load(recorded[-1]).between(sender=secagg.SERVER, phase=TRAIN)[0].payload
    return unpack_request(request, trained.federation.backbone.spec, start=trained.federation.start)[1]


def may_show(federation: Federation) -> bool:
    """Whether recovered texts of the configured data may be shown."""
    return shows_text(federation.config, public_text=federation.data.public_text)
