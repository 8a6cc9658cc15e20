"""Reads what a run left behind, strictly: a file that does not fit the schema is an error, not a blank chart."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from fedpeft_secure.errors import RunDirectoryError
from fedpeft_secure.result import Result, RoundRecord

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A finished run: `rounds` holds the last attempt of every round, in order."""

    name: str
    result: Result
    rounds: tuple[RoundRecord, ...]
    attempts: int
    config: str


def read_run(run_dir: Path) -> Run:
    """Reads `result.json`, `rounds.jsonl` and `config.toml` of a run directory.

    Raises: RunDirectoryError if one is missing, unreadable or of another schema.
    """
    if not run_dir.is_dir():
        raise RunDirectoryError(f"{run_dir} is not a directory; give the --out directory of a finished run")
    result = _parsed(Result, _text(run_dir, "result.json"), "result.json")
    lines = [line for line in _text(run_dir, "rounds.jsonl").split("\n") if line.strip()]
    records = [_parsed(RoundRecord, line, f"rounds.jsonl, line {i}") for i, line in enumerate(lines, start=1)]
    last = {record.round: record for record in records}
    return Run(
        name=run_dir.resolve().name,
        result=result,
        rounds=tuple(last[index] for index in sorted(last)),
        attempts=len(records),
        config=_text(run_dir, "config.toml"),
    )


def _text(run_dir: Path, name: str) -> str:
    try:
        return (run_dir / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunDirectoryError(
            f"{run_dir} has no {name}: the run has not finished; `fedpeft run --resume {run_dir}` finishes it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"{run_dir / name} cannot be read: {error}") from None


def _parsed(model: type[Model], text: str, where: str) -> Model:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunDirectoryError(
            f"{where} does not fit this version ({place or 'the whole'}: {first['msg']}); "
            "write the report with the version of fedpeft-secure that made the run"
        ) from None
