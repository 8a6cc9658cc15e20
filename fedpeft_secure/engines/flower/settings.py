"""The settings of a node and of a server that are out of one machine, as TOML files of their owners."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

import secagg
from fedpeft_secure.errors import InputError

Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600)]
HexKey = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
REMEDIES = {
    "classes": ': all that a label may be, in the run\'s order, such as ["negative", "positive"]',
    "directory": ": the file that `fedpeft key-directory` makes",
    "identity": ": the file that `fedpeft keys` makes",
    "policy": ": a TOML file of its owner's terms",
    "server_key": ": 64 hexadecimal digits, as `fedpeft keys` prints them at the server",
}
"""What to write under a key that is missing or wrong."""

PASSPHRASE = "FEDPEFT_PASSPHRASE"  # noqa: S105 - the name of a variable


class Settings(BaseModel):
    """Base of both: unknown keys are errors, relative paths are relative to the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    identity: Path
    passphrase_file: Path | None = None
    directory: Path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a settings file.

        Raises:
            InputError: Names the file, the key and what is wrong.
        """
        try:
            tables = tomllib.loads(path.read_text("utf-8"))
            settings = cls.model_validate(tables)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; give an existing TOML file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is no valid TOML: {error}") from None
        except ValidationError as error:
            raise InputError(f"{path}: {'; '.join(_in_words(problem) for problem in error.errors())}") from None
        folder = path.resolve().parent
        return settings.model_copy(
            update={
                name: folder / value.expanduser()
                for name in cls.model_fields
                if isinstance(value := getattr(settings, name), Path)
            }
        )

    def load_identity(self) -> secagg.Identity:
        """The party's own key, opened with the passphrase from the file or from FEDPEFT_PASSPHRASE.

        Raises:
            InputError: If the key is missing or damaged, or the passphrase is wrong.
        """
        try:
            return secagg.Identity.load(self.identity, passphrase=read_passphrase(self.passphrase_file))
        except OSError as error:
            raise InputError(f"identity {self.identity}: {error.strerror}; `fedpeft keys` makes one") from None
        except secagg.ProtocolError as error:
            raise InputError(f"identity {error}") from None

    def load_directory(self) -> secagg.KeyDirectory:
        """Everybody's pinned public keys.

        Raises:
            InputError: If the file is missing or damaged.
        """
        try:
            return secagg.KeyDirectory.from_bytes(self.directory.read_bytes())
        except OSError as error:
            raise InputError(f"directory {self.directory}: {error.strerror}; see `fedpeft key-directory`") from None
        except secagg.ProtocolError as error:
            raise InputError(f"directory {self.directory}: {error}") from None


class NodeSettings(Settings):
    """A client's own settings.

    Args:
        name: as in the key directory.
        identity, passphrase_file: its key, encrypted where a passphrase is given.
        directory: everybody's pinned public keys.
        server_key: the server's public identity, in hex.
        policy: its owner's terms.
        ledger: what it was ever charged; beside it lies what it remembers.
        data, text, label, budget_group: its examples, as in the table `[data]`.
        classes: all that a label may be, in the run's order.
        groups: all that a value of the column `budget_group` may be.
        model: where it has the model; empty for the name that the run gives.
        socket: where its worker listens.
        physical_batch: examples at once, if the run's are too many for this device.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    server_key: HexKey
    policy: Path
    ledger: Path
    data: Path
    text: str = "text"
    label: str = "label"
    budget_group: str = ""
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    groups: tuple[str, ...] = ()
    model: str = ""
    socket: Path
    physical_batch: Annotated[int, Field(ge=1)] | None = None


class HolderSettings(Settings):
    """A key holder's own settings.

    Args:
        state: what `fedpeft key-holder init` made.
        server_key: the server's public identity, in hex.
        min_cohort: fewest clients whose sum it opens.
        socket: where its worker listens.
    """

    state: Path
    server_key: HexKey
    min_cohort: Annotated[int, Field(ge=2)] = 3
    socket: Path


class ServerSettings(Settings):
    """The server's settings.

    Args:
        config: the run's configuration; data of the server are read for validation and test only.
        out: the run directory.
        identity, passphrase_file: its key.
        directory: everybody's pinned public keys.
        join_seconds, train_seconds, step_seconds: deadlines; who has not answered then has vanished.
        journal: where structured logs go; the standard error stream, which Flower collects, unless given.
        metrics_port: of Prometheus metrics and the health page, on `metrics_host`; 0 for none.
    """

    config: Path
    out: Path
    join_seconds: Seconds = 300.0
    train_seconds: Seconds = 3600.0
    step_seconds: Seconds = 120.0
    journal: Path | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0


def _in_words(problem: ErrorDetails) -> str:
    """What is wrong with one key, and what to write."""
    key, kind = ".".join(map(str, problem["loc"])), problem["type"]
    if kind == "extra_forbidden":
        return f"{key} is an unknown key"
    wrong = "is missing" if kind == "missing" else f"should {problem['msg'].partition(' should ')[2] or 'be another'}"
    return f"{key} {wrong}{REMEDIES.get(str(problem['loc'][0]), '')}"


def read_passphrase(file: Path | None) -> bytes:
    """The passphrase from a file, else from FEDPEFT_PASSPHRASE; empty where there is none.

    Raises:
        InputError: If the file cannot be read, or is empty.
    """
    if file is None:
        return os.environ.get(PASSPHRASE, "").encode()
    try:
        found = file.read_bytes().strip()
    except OSError as error:
        raise InputError(f"passphrase_file {file}: {error.strerror}; give a file of mode 0600") from None
    if not found:
        raise InputError(
            f"passphrase_file {file}: empty: no passphrase is in it, and the key would not be encrypted; write one "
            "into it, or leave the file away"
        )
    return found
