import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from fedpeft_secure import Config, cli
from fedpeft_secure.cli import run
from fedpeft_secure.config_file import dump_config
from fedpeft_secure.errors import InputError
from fedpeft_secure.events import Event, Notice, RoundFinished, ignore
from fedpeft_secure.live_logs import live_logs, numbers_of

MakeConfig = Callable[..., Config]
Calls = list[tuple[Any, ...]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What stand-ins for both packages are told."""
    told: Calls = []

    class SummaryWriter:
        def __init__(self, *, log_dir: str) -> None:
            told.append(("open", log_dir))

        def add_scalar(self, name: str, value: float, *, global_step: int) -> None:
            told.append((name, value, global_step))

        def flush(self) -> None:
            told.append(("flush",))

        def close(self) -> None:
            told.append(("close",))

    board, mlflow = ModuleType("torch.utils.tensorboard"), ModuleType("mlflow")
    board.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    mlflow.start_run = lambda *, run_name: told.append(("start_run", run_name))  # type: ignore[attr-defined]
    mlflow.log_metrics = lambda numbers, *, step: told.append(("metrics", numbers, step))  # type: ignore[attr-defined]
    mlflow.end_run = lambda: told.append(("end_run",))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    return told


@pytest.fixture(scope="module")
def finished(tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> list[RoundFinished]:
    """The rounds of a real run."""
    heard: list[Event] = []
    run(tiny_config({"attacks.run": []}), out=tmp_path_factory.mktemp("live") / "run", listen=heard.append)
    return [event for event in heard if isinstance(event, RoundFinished)]


def test_every_round_goes_to_tensorboard_with_its_number(
    calls: Calls, finished: list[RoundFinished], tmp_path: Path
) -> None:
    with live_logs(["tensorboard"], tmp_path / "mine", ignore) as listen:
        for event in finished:
            listen(event)
    assert calls[0] == ("open", str(tmp_path / "mine" / "tensorboard"))
    assert calls[-1] == ("close",)
    written = {(name, step): value for name, value, step in (call for call in calls if len(call) == 3)}
    for event in finished:
        record = event.record
        assert written["bytes/upload", record.round] == record.upload_bytes
        assert written["epsilon/client-1", record.round] == pytest.approx(record.epsilon_spent["client-1"])
    assert written["validation/accuracy", finished[-1].record.round] == finished[-1].record.accuracy


def test_every_round_goes_to_mlflow(calls: Calls, finished: list[RoundFinished], tmp_path: Path) -> None:
    with live_logs(["mlflow"], tmp_path / "mine", ignore) as listen:
        listen(finished[0])
    assert calls == [
        ("start_run", "mine"),
        ("metrics", numbers_of(finished[0].record), finished[0].record.round),
        ("end_run",),
    ]


def test_who_listens_still_hears_everything(calls: Calls, finished: list[RoundFinished], tmp_path: Path) -> None:
    heard: list[Event] = []
    with live_logs(["mlflow", "tensorboard"], tmp_path, heard.append) as listen:
        listen(Notice(text="careful"))
        listen(finished[0])
    assert heard == [Notice(text="careful"), finished[0]]


def test_logs_are_closed_where_the_run_fails(calls: Calls, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), live_logs(["tensorboard", "mlflow"], tmp_path, ignore):
        raise RuntimeError
    assert calls[-2:] == [("end_run",), ("close",)]


def test_what_was_not_measured_or_has_no_bound_is_left_out(finished: list[RoundFinished]) -> None:
    record = finished[0].record.model_copy(
        update={"accuracy": None, "loss": None, "epsilon_spent": {"client-1": float("inf"), "client-2": 1.5}}
    )
    numbers = numbers_of(record)
    assert {name for name in numbers if name.startswith(("validation", "epsilon"))} == {"epsilon/client-2"}
    assert all(isinstance(value, float) for value in numbers.values())


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with (
        pytest.raises(InputError, match=r"--log mlflow: .*fedpeft-secure\[mlflow\]"),
        live_logs(["mlflow"], tmp_path, ignore),
    ):
        pass


def test_the_command_writes_to_the_logs_that_it_is_given(calls: Calls, tiny_config: MakeConfig, tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(dump_config(tiny_config({"attacks.run": []})))
    done = CliRunner().invoke(cli.app, ["run", str(file), "--out", str(tmp_path / "run"), "--log", "mlflow"])
    assert done.exit_code == 0, done.output
    assert [call[0] for call in calls] == ["start_run", *["metrics"] * (len(calls) - 2), "end_run"]
    assert len(calls) > 2


def test_an_unknown_log_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["run", "--out", str(tmp_path / "run"), "--log", "wandb"])
    assert (done.exit_code, (tmp_path / "run").exists()) == (2, False)
    assert "--log wandb: there are tensorboard, mlflow" in done.output
