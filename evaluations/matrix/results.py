"""The matrix as data, which is also the leaderboard's format: JSON that others can make and `--check` can read."""

from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from fedpeft_secure.errors import InputError
from fedpeft_secure.result import Number, Record, ViewName


class DefenceRow(Record):
    """One defended training, and what the defence cost.

    Args:
        defence: its name.
        changes: dotted keys of the configuration, and their values, as text.
        strategy, protocol: how updates were summed up.
        rank, cohort: of the adapter, and clients a round.
        accuracy, majority_baseline: on the test split.
        upload_bytes: per client and round.
        seconds: of the training.
        epsilon, delta, unit: the largest spent; None without privacy.
    """

    defence: str = Field(min_length=1)
    changes: dict[str, str]
    strategy: str
    protocol: str
    rank: int
    cohort: int
    accuracy: float = Field(ge=0, le=1)
    majority_baseline: float = Field(ge=0, le=1)
    upload_bytes: int = Field(ge=0)
    seconds: float = Field(ge=0)
    epsilon: Number | None
    delta: float | None
    unit: Literal["example", "client"]


class MatrixCell(Record):
    """One attack on one defended training under one view; without a value where it could not be played.

    Args:
        attack, view, defence: which.
        replay: whether a defence was switched off, or put on, for this view.
        metric, value, low, high, null: as in a run's own rows: the interval has 95 %.
        note: what was done, or why there is no value.
    """

    attack: str = Field(min_length=1)
    view: ViewName
    defence: str = Field(min_length=1)
    replay: bool
    metric: str = Field(min_length=1)
    value: float | None
    low: float | None
    high: float | None
    null: float | None
    note: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> "MatrixCell":
        numbers = (self.value, self.low, self.high, self.null)
        if self.value is None:
            if any(number is not None for number in numbers) or not self.note:
                raise ValueError("a cell without a value has no interval and no null, and says in its note why")
        elif self.low is None or self.high is None or self.null is None:
            raise ValueError("a cell with a value needs its interval (low, high) and its null control")
        elif not self.low <= self.value <= self.high:
            raise ValueError(f"value {self.value} is not in its interval [{self.low}, {self.high}]")
        return self


class Failure(Record):
    """A training or an attack that broke off; `attack` is empty for a training."""

    defence: str
    attack: str = ""
    reason: str


class Matrix(Record):
    """All cells with what they are of.

    Args:
        submission: who measured, or what it is called; free text.
        model, data, seed: of all trainings.
        versions, processor: of the machine.
        defences: that were trained.
        cells: of them.
        failures: what broke off.
        refused: defences that the configuration cannot have → why.
    """

    schema_: Literal["fedpeft-attack-matrix/1"] = Field(default="fedpeft-attack-matrix/1", alias="schema")
    submission: str
    model: str
    data: str
    seed: int
    versions: dict[str, str]
    processor: str
    defences: tuple[DefenceRow, ...]
    cells: tuple[MatrixCell, ...]
    failures: tuple[Failure, ...] = ()
    refused: dict[str, str] = Field(default_factory=dict)

    model_config = Record.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _fits_together(self) -> "Matrix":
        names = Counter(row.defence for row in self.defences)
        _refuse_twice("defence", names)
        _refuse_twice("cell", Counter((cell.attack, cell.view, cell.defence) for cell in self.cells))
        strangers = [cell.defence for cell in self.cells if cell.defence not in names]
        if strangers:
            raise ValueError(f"a cell is of the defence {strangers[0]!r}, which is not among the defences")
        for row in self.defences:
            if (row.epsilon is None) != (row.delta is None):
                raise ValueError(f"defence {row.defence!r}: ε and δ belong together")
        return self

    def to_json(self) -> str:
        """The text of `matrix.json`."""
        return self.model_dump_json(by_alias=True, indent=2)


def read_submission(path: Path) -> Matrix:
    """Reads a matrix of anybody's and checks that nothing is missing.

    Raises:
        InputError: Says in one line what is wrong and where.
    """
    try:
        found = Matrix.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"--check {path}: {error.strerror}; give a file that `fedpeft matrix` wrote") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise InputError(f"--check {path}: {place}: {first['msg']}; docs/attack-matrix.md has the format") from None
    if not any(cell.value is not None for cell in found.cells):
        raise InputError(f"--check {path}: no cell has a value; a submission needs at least one")
    return found


def _refuse_twice(what: str, counts: Counter[str] | Counter[tuple[str, ViewName, str]]) -> None:
    for name, count in counts.items():
        if count > 1:
            raise ValueError(f"{what} {name!r} is there {count} times")
