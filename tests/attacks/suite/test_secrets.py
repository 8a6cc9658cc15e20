"""Exposure of planted codes as an attack of a run, and of a finished one that is opened again."""

from dataclasses import replace
from pathlib import Path

import pytest

from attacks.suite.case import open_case
from attacks.suite.reopen import reopened
from attacks.suite.secrets import exposure_rows
from evaluations.metrics import classification
from fedpeft_secure.events import ignore
from fedpeft_secure.server.job import TrainedRun, finish, training_run
from tests.fedpeft_secure.conftest import MakeConfig


def test_a_finished_run_says_the_same_as_the_run_itself(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attacks.suite.secrets.CANDIDATES", 8)
    config = tiny_config({"data.synthetic.secrets_per_client": 1, "attacks.run": ["exposure"]})
    with training_run(config, tmp_path / "run", resume=False, listen=ignore) as trained:
        (row,) = exposure_rows(case := open_case(trained))
        untrained = exposure_rows(replace(case, final=trained.federation.start))[0]
        finish(trained, measure=classification, attack=lambda *_: (row,), listen=ignore)
    assert (row.view, row.replay, row.metric) == ("sum-dp", False, "exposure (bits)")
    assert row.value is not None
    assert row.low is not None
    assert row.high is not None
    assert 0 <= row.low <= row.value <= row.high <= 3
    assert untrained.value == 0.0
    with reopened(tmp_path / "run", overrides=(), listen=ignore) as again:
        assert exposure_rows(open_case(again)) == (row,)
    for file in (tmp_path / "run" / "checkpoints").glob("*.safetensors"):
        file.unlink()
    with reopened(tmp_path / "run", overrides=(), listen=ignore) as again:
        (gone,) = exposure_rows(open_case(again))
    assert gone.value is None
    assert "checkpoints" in gone.note


def test_a_run_without_planted_codes_says_so(open_run: TrainedRun) -> None:
    (row,) = exposure_rows(open_case(open_run))
    assert row.value is None
    assert row.view == "sum"
    assert "secrets_per_client" in row.note
