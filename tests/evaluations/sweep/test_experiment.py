"""Sweeps of tiny models; the processes are real in the slow test, and this very process in the others."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from evaluations.sweep import Plan, experiment, new_plan, require_complete, sweep
from evaluations.sweep.results import Sweep
from evaluations.workers import Job, Report
from evaluations.workers.worker import trained
from fedpeft_secure import Config
from fedpeft_secure.clients.backbone import new_store
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.errors import InputError, RunDirectoryError, RunFailedError
from fedpeft_secure.events import Event, Notice, ignore
from fedpeft_secure.result import Result

MakeConfig = Callable[..., Config]
COMMAND = (sys.executable, "-c", "from fedpeft_secure.cli import main; main()")


@pytest.fixture
def tables(tiny_config: MakeConfig) -> dict[str, Any]:
    return tiny_config({"attacks.run": [], "training.rounds": 1}).to_dict()


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cells are trained here; gives the folders, in order."""
    seen: list[str] = []

    def run_here(jobs: Sequence[Job], *, processes: int, logs: Path, heard: Callable[[Job, Report], None]) -> None:
        for job in jobs:
            config = parse_config(tomllib.loads(job.order.config))
            seen.append(Path(job.order.folder).name)
            heard(job, trained(config, Path(job.order.folder), new_store(config), io.StringIO()))

    monkeypatch.setattr(experiment, "run_jobs", run_here)
    return seen


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("nothing was to be trained")

    monkeypatch.setattr(experiment, "run_jobs", refuse)


def test_a_sweep_goes_on_grows_and_names_what_failed(tables, in_process, tmp_path: Path) -> None:
    heard: list[Event] = []
    # At ε = 1e-9 no noise is enough: that cell fails once it is looked at, and stops no other.
    plan = new_plan(tables, over=["privacy.epsilon=1e-9,8"], seeds=1)
    found = sweep(plan, out=tmp_path, listen=heard.append)
    assert [point.values["privacy.epsilon"] for point in found.points] == [8]
    assert [one.kind for one in found.missing] == ["failed"]
    assert "raise it" in found.failed[0].reason
    with pytest.raises(RunFailedError, match=r"1 of the cells failed, the first \(privacy.epsilon = 1e-09, seed 0\)"):
        require_complete(found, tmp_path)
    said = [event.text for event in heard if isinstance(event, Notice)]
    assert any(text.startswith("FAILED: privacy.epsilon = 1e-09, seed 0") for text in said)
    assert any("(1 of 2)" in text for text in said)

    run = tmp_path / found.points[0].runs[0]
    result = Result.from_json((run / "result.json").read_text())
    assert found.points[0].accuracy.mean == result.utility.accuracy
    assert (run / "adapter").is_dir()
    assert not (run / "transcript").exists()
    assert not (run / "checkpoints").exists()
    for name in ("report.html", "sweep.json", "results.parquet", "results.csv", "sweep.toml"):
        assert (tmp_path / name).stat().st_size > 0
    assert Sweep.model_validate_json((tmp_path / "sweep.json").read_text()) == found

    in_process.clear()
    grown = sweep(new_plan(tables, over=["privacy.epsilon=8,inf"], seeds=1), out=tmp_path, listen=ignore)
    assert len(in_process) == 1
    assert in_process[0].startswith("epsilon=inf")
    assert all(point.accuracy.n == 1 for point in grown.points)
    assert not grown.missing
    assert Plan.read(tmp_path).axes[0].values == (8, "inf")
    require_complete(grown, tmp_path)


def test_a_finished_sweep_is_only_read(tables, in_process, tmp_path: Path, monkeypatch) -> None:
    plan = new_plan(tables, over=["peft.rank=2"], seeds=1)
    first = sweep(plan, out=tmp_path, listen=ignore)
    in_process.clear()
    assert sweep(Plan.read(tmp_path), out=tmp_path, listen=ignore) == first
    assert not in_process


def test_a_sweep_of_which_nothing_ends_well_fails_and_says_why(tables, in_process, tmp_path: Path) -> None:
    plan = new_plan(tables, over=["privacy.epsilon=1e-9"], seeds=1)
    with pytest.raises(RunFailedError, match=r"no cell of the sweep has a result; the first: .*raise it"):
        sweep(plan, out=tmp_path, listen=ignore)


def test_other_settings_or_another_directory_are_not_mixed_in(tables, no_training, tmp_path: Path) -> None:
    plan = new_plan(tables, over=["peft.rank=2"], seeds=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RunDirectoryError, match="in use already, and no sweep"):
        sweep(plan, out=tmp_path / "mine", listen=ignore)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sweep.toml").write_text(new_plan({}, over=["peft.rank=2"], seeds=1).to_toml())
    with pytest.raises(RunDirectoryError, match="holds a sweep of other settings"):
        sweep(plan, out=tmp_path / "other", listen=ignore)
    with pytest.raises(RunDirectoryError, match="no sweep"):
        Plan.read(tmp_path / "mine")


@pytest.mark.parametrize("text", ["", "seeds = 3", "seeds = [0]\nover = 3\nconfig = {}", "not toml"])
def test_a_plan_that_cannot_be_read_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(RunDirectoryError, match="no sweep"):
        Plan.read(tmp_path)


@pytest.mark.parametrize(
    ("settings", "seeds", "processes", "words"),
    [
        ({"noise": "secure"}, 1, None, "privacy.noise: with secure noise every cell spends real budget"),
        ({"ledger": "l.sqlite"}, 2, None, "--seeds: each seed deals the examples to other clients"),
        ({"ledger": "l.sqlite", "noise": "secure"}, 1, 2, "--processes 2: cells on one privacy.ledger"),
    ],
)
def test_a_choice_among_cells_is_never_sold_for_the_budget_of_one(  # noqa: PLR0917
    settings, seeds, processes, words, no_training, tmp_path: Path
) -> None:
    plan = new_plan({"privacy": settings}, over=["peft.rank=2,4"], seeds=seeds)
    with pytest.raises(InputError, match=words):
        sweep(plan, out=tmp_path / "out", processes=processes, listen=ignore)
    assert not (tmp_path / "out").exists()


def test_seeds_are_counted_from_the_configured_one() -> None:
    assert new_plan({"seed": 7}, over=["peft.rank=2"], seeds=2).seeds == (7, 8)
    with pytest.raises(InputError, match="--seeds 0"):
        new_plan({}, over=["peft.rank=2"], seeds=0)
    with pytest.raises(InputError, match="seed: should be a whole number"):
        new_plan({"seed": "x"}, over=["peft.rank=2"], seeds=1)


@pytest.mark.slow
def test_killed_in_the_middle_it_loses_the_cell_in_progress_and_nothing_else(tables, tmp_path: Path) -> None:
    tables["training"]["rounds"] = 6
    (tmp_path / "c.toml").write_text(tomli_w.dumps(tables))
    out = tmp_path / "out"
    over = ("--over", "privacy.epsilon=8,inf", "--seeds", "2")
    command = [*COMMAND, "sweep", str(tmp_path / "c.toml"), *over, "--out", str(out), "--processes", "1"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while first.poll() is None and len(done := list(out.glob("cells/*/result.json"))) < 1:
            time.sleep(0.02)
        while first.poll() is None and len(list(out.glob("cells/*/config.toml"))) < 2:
            time.sleep(0.02)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert len(done) == 1, "the sweep was over before it could be killed; the test proved nothing"
    written = {path: path.stat().st_mtime_ns for path in done}
    again = subprocess.run(
        [*COMMAND, "sweep", "--resume", str(out), "--json"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    found = Sweep.model_validate_json(again.stdout)
    assert [point.accuracy.n for point in found.points] == [2, 2]
    assert all(path.stat().st_mtime_ns == before for path, before in written.items())
    assert json.loads((out / "sweep.json").read_text()) == json.loads(again.stdout)
    assert "cells are there already" in again.stderr
