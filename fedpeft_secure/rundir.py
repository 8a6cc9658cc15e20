"""The run directory: made once, written atomically, locked while a run works in it, read back by everybody else."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedpeft_secure.config import Config
from fedpeft_secure.config_file import dump_config, load_config
from fedpeft_secure.errors import RunDirectoryError
from fedpeft_secure.result import Result, RoundRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class RunDirectory:
    """The paths of one run."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.toml"

    @property
    def rounds(self) -> Path:
        """One JSON line a round."""
        return self.root / "rounds.jsonl"

    @property
    def result(self) -> Path:
        """The result; there when the run is finished."""
        return self.root / "result.json"

    @property
    def ledger(self) -> Path:
        """The privacy ledger of this run."""
        return self.root / "ledger.sqlite"

    @property
    def adapter(self) -> Path:
        """The fine-tuned adapter in PEFT's format."""
        return self.root / "adapter"

    @property
    def checkpoints(self) -> Path:
        """What a resumed run starts from."""
        return self.root / "checkpoints"

    @property
    def transcript(self) -> Path:
        """The recorded messages of the attacked rounds."""
        return self.root / "transcript"


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedRun:
    """What a finished run left."""

    directory: RunDirectory
    config: Config
    result: Result

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.result.utility.classes

    @property
    def shows_text(self) -> bool:
        """Whether recovered text may appear in reports."""
        return shows_text(self.config, public_text=self.result.setup.public_text)


def shows_text(config: Config, *, public_text: bool) -> bool:
    """What `attacks.show_text` says: "demo" shows what was recovered from built-in data only."""
    show = config.attacks.show_text
    return show == "always" or (show == "demo" and public_text)


def create_run(root: Path, config: Config) -> RunDirectory:
    """Makes a new run directory and writes the resolved configuration into it.

    Raises:
        RunDirectoryError: If the directory holds anything already.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        unfinished = (root / "config.toml").is_file() and not (root / "result.json").exists()
        resume = f", or finish the run in it by --resume {root}" if unfinished else ""
        raise RunDirectoryError(f"--out {root}: in use already; give an empty directory{resume}")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"--out {root}: {error.strerror}; give a directory that can be written") from None
    directory = RunDirectory(root=root)
    write_atomically(directory.config, dump_config(config).encode())
    return directory


def open_run(root: Path) -> tuple[RunDirectory, Config]:
    """An existing run, finished or not, and its configuration."""
    directory = RunDirectory(root=root)
    if not directory.config.is_file():
        raise RunDirectoryError(
            f"{root}: no run directory (there is no config.toml in it); give one that `fedpeft run` made"
        )
    return directory, load_config(directory.config)


def read_run(root: Path) -> SavedRun:
    """A finished run.

    Raises:
        RunDirectoryError: If the directory holds none.
    """
    directory, config = open_run(root)
    if not directory.result.is_file():
        raise RunDirectoryError(f"{root}: this run is not finished; finish it by `fedpeft run --resume {root}`")
    return SavedRun(directory=directory, config=config, result=Result.from_json(directory.result.read_text("utf-8")))


def read_rounds(directory: RunDirectory) -> list[RoundRecord]:
    """The finished rounds."""
    if not directory.rounds.exists():
        return []
    return [RoundRecord.model_validate_json(line) for line in directory.rounds.read_text("utf-8").splitlines()]


def write_rounds(directory: RunDirectory, records: list[RoundRecord]) -> None:
    """Writes all lines of `rounds.jsonl`, atomically: a killed run never leaves half a line."""
    write_atomically(directory.rounds, "".join(record.model_dump_json() + "\n" for record in records).encode())


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Writes a file completely or not at all, durably, and never readable by more than `mode` and the umask allow."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=mode)
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name must survive a crash too
    finally:
        os.close(folder)


def to_json(value: object) -> bytes:
    """Plain values as JSON bytes."""
    return json.dumps(value, indent=2).encode()


@contextmanager
def exclusive(directory: RunDirectory) -> Iterator[None]:
    """Holds the directory's lock.

    Raises:
        RunDirectoryError: If another process works in it.
    """
    with (directory.root / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunDirectoryError(
                f"{directory.root}: another process is working in it; wait for it or stop it"
            ) from None
        yield
