"""The leaderboard's format, and what its check refuses."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evaluations.matrix import Matrix, read_submission
from evaluations.matrix.results import MatrixCell
from fedpeft_secure import cli
from fedpeft_secure.errors import InputError


@pytest.fixture
def path(tmp_path: Path, small: Matrix) -> Path:
    file = tmp_path / "matrix.json"
    file.write_text(small.to_json())
    return file


def test_a_matrix_comes_back_as_it_was(path: Path, small: Matrix) -> None:
    assert read_submission(path) == small


def test_the_command_checks_and_shows_it(path: Path) -> None:
    shown = CliRunner().invoke(cli.app, ["matrix", "--check", str(path)])
    assert shown.exit_code == 0
    assert "dp-8" in shown.stdout
    path.write_text("{}")
    refused = CliRunner().invoke(cli.app, ["matrix", "--check", str(path)])
    assert refused.exit_code == 2
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"defence": "plain"', '"defence": "other"', "not among the defences"),
        ('"high": 1.0', '"high": 0.85', "not in its interval"),
        ('"null": 0.1', '"null": null', "null control"),
        ('"note": "it was not played"', '"note": ""', "says in its note why"),
        ('"view": "individual-dp"', '"view": "individual"', "there 2 times"),
        ('"delta": 0.00001', '"delta": null', "belong together"),
        ('"schema": "fedpeft-attack-matrix/1"', '"schema": "x"', "schema"),
        ('"submission"', '"sumbission"', "submission"),
        ('"accuracy": 0.8', '"accuracy": 1.8', "accuracy"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(path: Path, small: Matrix, old: str, new: str, said: str) -> None:
    whole = small.to_json()
    at = whole.index('"cells"') if old.startswith(('"defence"', '"view"')) else 0
    assert old in whole[at:]
    path.write_text(whole[:at] + whole[at:].replace(old, new, 1))
    with pytest.raises(InputError, match=said) as caught:
        read_submission(path)
    assert "\n" not in str(caught.value)


def test_a_matrix_of_nothing_but_gaps_is_no_submission(path: Path, small: Matrix) -> None:
    gap: dict[str, Any] = {"value": None, "low": None, "high": None, "null": None, "note": "not played"}
    cells = tuple(MatrixCell.model_validate(cell.model_dump() | gap) for cell in small.cells)
    path.write_text(small.model_copy(update={"cells": cells}).to_json())
    with pytest.raises(InputError, match="no cell has a value"):
        read_submission(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_submission(tmp_path / "none.json")
