import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpeft_secure import Config
from fedpeft_secure.errors import InputError, RunDirectoryError
from fedpeft_secure.result import RoundRecord
from fedpeft_secure.rundir import (
    RunDirectory,
    create_run,
    exclusive,
    open_run,
    read_rounds,
    read_run,
    shows_text,
    to_json,
    write_atomically,
    write_rounds,
)

MakeConfig = Callable[..., Config]


def record(number: int, **changes: object) -> RoundRecord:
    values = {
        "round": number,
        "attempt": 0,
        "survivors": ("client-1",),
        "dropped": (),
        "accuracy": 0.5,
        "loss": None,
        "epsilon_spent": {"client-1": 1.25, "client-2": float("inf")},
        "ledger": {"charges": 8, "digest": "00"},
        "upload_bytes": 10,
        "download_bytes": 20,
        "seconds": {"training": 0.5},
        "model_hash": "ab",
    }
    return RoundRecord.model_validate({**values, **changes})


def test_a_new_run_holds_its_resolved_configuration(tmp_path: Path, tiny_config: MakeConfig) -> None:
    directory = create_run(tmp_path / "deep" / "run", tiny_config())
    assert {path.name for path in directory.root.iterdir()} == {"config.toml"}
    again, config = open_run(tmp_path / "deep" / "run")
    assert again == directory
    assert config == tiny_config()


def test_an_empty_directory_may_be_used(tmp_path: Path, tiny_config: MakeConfig) -> None:
    create_run(tmp_path, tiny_config())


@pytest.mark.parametrize("inside", ["config.toml", "somebody's thesis.txt"])
def test_a_directory_in_use_is_left_alone(inside: str, tmp_path: Path, tiny_config: MakeConfig) -> None:
    (tmp_path / inside).write_text("precious")
    with pytest.raises(RunDirectoryError, match=r"--out .*: in use already; give an empty directory") as refused:
        create_run(tmp_path, tiny_config())
    assert ("--resume" in str(refused.value)) == (inside == "config.toml"), "only a run can be resumed"
    assert (tmp_path / inside).read_text() == "precious"


def test_a_file_is_no_directory(tmp_path: Path, tiny_config: MakeConfig) -> None:
    path = tmp_path / "run"
    path.write_text("precious")
    with pytest.raises(RunDirectoryError, match="in use already"):
        create_run(path, tiny_config())
    with pytest.raises(RunDirectoryError, match=r"--out .*/run/below: Not a directory; give a directory that can be"):
        create_run(path / "below", tiny_config())
    assert path.read_text() == "precious"


def test_what_is_no_run_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"no run directory \(there is no config.toml in it\); give one that"):
        open_run(tmp_path)
    assert issubclass(RunDirectoryError, InputError)


def test_an_unfinished_run_has_no_result(tmp_path: Path, tiny_config: MakeConfig) -> None:
    create_run(tmp_path / "run", tiny_config())
    with pytest.raises(RunDirectoryError, match=r"this run is not finished; finish it by `fedpeft run --resume "):
        read_run(tmp_path / "run")


def test_rounds_survive_the_round_trip(tmp_path: Path) -> None:
    directory = RunDirectory(root=tmp_path)
    assert read_rounds(directory) == []
    records = [record(1), record(2, failure="too few", survivors=(), dropped=("client-1",), accuracy=None)]
    write_rounds(directory, records)
    assert read_rounds(directory) == records
    lines = directory.rounds.read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [1, 2]
    assert json.loads(lines[0])["epsilon_spent"] == {"client-1": 1.25, "client-2": "inf"}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("fedpeft_secure.rundir.os.fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_write_replaces_what_an_interrupted_one_left(tmp_path: Path) -> None:
    (tmp_path / ".file.part").write_bytes(b"half of someth")
    write_atomically(tmp_path / "file", b"all")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"all"}


def test_a_secret_is_never_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    monkeypatch.setattr(
        "fedpeft_secure.rundir.os.fsync",
        lambda opened: modes.append(os.fstat(opened).st_mode & 0o777),
    )
    write_atomically(tmp_path / "secret", b"x", mode=0o600)
    assert modes[0] == 0o600, "before the name is there"
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_the_lock_keeps_another_process_out(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from fedpeft_secure.errors import RunDirectoryError\n"
        "from fedpeft_secure.rundir import RunDirectory, exclusive\n"
        "try:\n    with exclusive(RunDirectory(root=Path(sys.argv[1]))):\n        print('in')\n"
        "except RunDirectoryError as error:\n    print(error)\n"
    )

    def other() -> str:
        return subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, text=True
        ).stdout.strip()

    with exclusive(RunDirectory(root=tmp_path)):
        assert other() == f"{tmp_path}: another process is working in it; wait for it or stop it"
    assert other() == "in"


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    directory = RunDirectory(root=tmp_path)
    with pytest.raises(KeyError), exclusive(directory):
        raise KeyError
    with exclusive(directory):
        pass


def test_two_holders_in_one_process_are_told_apart(tmp_path: Path) -> None:
    directory = RunDirectory(root=tmp_path)
    with exclusive(directory), pytest.raises(RunDirectoryError, match="another process"), exclusive(directory):
        pass


@pytest.mark.parametrize(
    ("setting", "public_text", "shown"),
    [
        ("demo", True, True),
        ("demo", False, False),
        ("always", False, True),
        ("always", True, True),
        ("never", True, False),
        ("never", False, False),
    ],
)
def test_recovered_text_is_shown_where_it_is_public_or_wanted(
    setting: str, public_text: bool, shown: bool, tiny_config: MakeConfig
) -> None:
    assert shows_text(tiny_config({"attacks.show_text": setting}), public_text=public_text) is shown


def test_paths_are_the_documented_ones(tmp_path: Path) -> None:
    directory = RunDirectory(root=tmp_path)
    assert {
        path.relative_to(tmp_path).as_posix()
        for path in (
            directory.config,
            directory.rounds,
            directory.result,
            directory.ledger,
            directory.adapter,
            directory.checkpoints,
            directory.transcript,
        )
    } == {"config.toml", "rounds.jsonl", "result.json", "ledger.sqlite", "adapter", "checkpoints", "transcript"}


def test_plain_values_as_json() -> None:
    assert json.loads(to_json({"round": 3})) == {"round": 3}
