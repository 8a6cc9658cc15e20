"""The optimisation baselines as attacks of a run."""

from dataclasses import replace
from pathlib import Path

import pytest

from attacks.suite import run_attacks
from attacks.suite.case import VIEWS
from fedpeft_secure.events import ignore
from fedpeft_secure.result import AttackRow
from fedpeft_secure.server.job import TrainedRun, training_run
from tests.fedpeft_secure.conftest import MakeConfig


def played(run: TrainedRun, *names: str) -> dict[str, list[AttackRow]]:
    config = run.federation.config
    attacks = config.attacks.model_copy(update={"run": names, "matching_steps": 2})
    federation = replace(run.federation, config=config.model_copy(update={"attacks": attacks}))
    rows = run_attacks(replace(run, federation=federation), ignore)
    return {name: [row for row in rows if row.attack == name] for name in names}


def test_each_baseline_has_the_rows_of_span_without_a_budget(
    open_run: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("texts", "matched_texts"):
        monkeypatch.setattr(f"attacks.suite.{module}.REPLAYS", 1)
    found = played(open_run, "span", "dlg", "lamp")
    for name in ("dlg", "lamp"):
        rows = found[name]
        assert [row.view for row in rows] == list(VIEWS)
        assert [row.replay for row in rows] == [False, True, True, True]
        for row, span in zip(rows, found["span"], strict=True):
            assert row.value is not None
            assert row.null is not None
            assert row.metric == span.metric
            assert row.token_budget is None
            assert row.tokens_present == span.tokens_present
            assert "2 steps; its length and class are given" in row.note
            assert "ROUGE-1/2/L" in row.note
            assert "0 tokens named as certain" in row.note
        assert [text.truth for text in rows[1].texts] == [text.truth for text in found["span"][1].texts]


def test_a_view_that_no_gradient_can_be_read_from_says_why(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config({"attacks.run": ["dlg"], "training.local_steps": 2})
    with training_run(config, tmp_path / "run", resume=False, listen=ignore) as trained:
        rows = run_attacks(trained, ignore)
    assert [row.value for row in rows] == [None] * 4
    assert all("one step of SGD" in row.note for row in rows)


def test_min_k_on_a_classifier_is_a_row_that_says_why(open_run: TrainedRun) -> None:
    rows = played(open_run, "min-k")["min-k"]
    assert [row.view for row in rows] == list(VIEWS)
    assert all(row.value is None and "classification head" in row.note for row in rows)


@pytest.mark.slow
def test_min_k_is_played_on_a_decoder(tiny_config: MakeConfig, tiny_llama: Path, tmp_path: Path) -> None:
    config = tiny_config({"model.name": str(tiny_llama), "attacks.run": ["min-k"], "data.test_fraction": 0.3})
    with training_run(config, tmp_path / "run", resume=False, listen=ignore) as trained:
        rows = run_attacks(trained, ignore)
    assert all(row.value is not None and row.null is not None for row in rows)
