"""Live logs of a run's public numbers: TensorBoard and MLflow, both optional."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

from fedpeft_secure.errors import InputError
from fedpeft_secure.events import Event, Listener, RoundFinished
from fedpeft_secure.result import RoundRecord


class LiveLog(Protocol):
    """Where numbers go while a run is under way."""

    def write(self, numbers: Mapping[str, float], *, step: int) -> None:
        """Adds the numbers of one round."""
        ...

    def close(self) -> None:
        """Ends the log; called once, also where the run failed."""
        ...


class TensorBoardLog:
    """Event files in `<run>/tensorboard`."""

    def __init__(self, out: Path) -> None:
        module = _extra("torch.utils.tensorboard", "tensorboard")
        self._writer: Any = module.SummaryWriter(log_dir=str(out / "tensorboard"))

    def write(self, numbers: Mapping[str, float], *, step: int) -> None:
        """See `LiveLog`."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, global_step=step)
        self._writer.flush()

    def close(self) -> None:
        """See `LiveLog`."""
        self._writer.close()


class MlflowLog:
    """A run of the tracking server that MLflow's own settings name, called like the run directory."""

    def __init__(self, out: Path) -> None:
        self._mlflow: Any = _extra("mlflow", "mlflow")
        self._mlflow.start_run(run_name=out.name)

    def write(self, numbers: Mapping[str, float], *, step: int) -> None:
        """See `LiveLog`."""
        self._mlflow.log_metrics(dict(numbers), step=step)

    def close(self) -> None:
        """See `LiveLog`."""
        self._mlflow.end_run()


LOGS: Final[Mapping[str, type[TensorBoardLog] | type[MlflowLog]]] = {
    "tensorboard": TensorBoardLog,
    "mlflow": MlflowLog,
}


@contextmanager
def live_logs(names: Sequence[str], out: Path, listen: Listener) -> Iterator[Listener]:
    """A listener that tells `listen`, and writes each finished round to the named logs.

    Guarantee: what is written stands in `rounds.jsonl` too: public numbers, nothing of a single client but its ε.

    Args:
        names: of `LOGS`.
        out: the run directory.
        listen: who else is told.

    Raises:
        InputError: A name is unknown, or the package behind it is missing.
    """
    unknown = next((name for name in names if name not in LOGS), None)
    if unknown is not None:
        raise InputError(f"--log {unknown}: there are {', '.join(LOGS)}")
    with ExitStack() as stack:
        opened: list[LiveLog] = []
        for name in dict.fromkeys(names):
            opened.append(LOGS[name](out))
            stack.callback(opened[-1].close)

        def forward(event: Event) -> None:
            listen(event)
            if isinstance(event, RoundFinished):
                for log in opened:
                    log.write(numbers_of(event.record), step=event.record.round)

        yield forward


def numbers_of(record: RoundRecord) -> dict[str, float]:
    """What a live log shows of a round; what was not measured is left out."""
    epsilon = {f"epsilon/{client}": spent for client, spent in record.epsilon_spent.items()}
    known = {
        "validation/accuracy": record.accuracy,
        "validation/loss": record.loss,
        "clients/survivors": float(len(record.survivors)),
        "clients/dropped": float(len(record.dropped)),
        "bytes/upload": float(record.upload_bytes),
        "bytes/download": float(record.download_bytes),
        **{f"seconds/{phase}": spent for phase, spent in record.seconds.items()},
        **epsilon,
    }
    return {name: float(value) for name, value in known.items() if value is not None and value != float("inf")}


def _extra(module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(
            f"--log {extra}: the package is missing; pip install fedpeft-secure[{extra}], or leave --log away"
        ) from None
