from dataclasses import replace
from pathlib import Path

import pytest

from attacks import AttackError
from attacks.suite import run_attacks
from attacks.suite.case import VIEWS
from fedpeft_secure.events import Event, PhaseStarted, ignore
from fedpeft_secure.result import AttackRow
from fedpeft_secure.server.job import TrainedRun, training_run
from tests.fedpeft_secure.conftest import MakeConfig


@pytest.fixture(scope="module")
def private_rows(private_run: TrainedRun) -> tuple[AttackRow, ...]:
    return run_attacks(private_run, ignore)


def test_each_attack_has_a_row_for_each_view(private_rows: tuple[AttackRow, ...]) -> None:
    for attack in ("span", "membership"):
        assert [row.view for row in private_rows if row.attack == attack] == list(VIEWS)


def test_only_the_runs_own_view_is_no_replay(private_rows: tuple[AttackRow, ...]) -> None:
    assert {row.view for row in private_rows if not row.replay} == {"sum-dp"}


def test_every_row_carries_interval_and_null_control(private_rows: tuple[AttackRow, ...]) -> None:
    for row in private_rows:
        assert row.value is not None
        assert row.null is not None
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.value <= row.high


def test_the_token_budget_stands_beside_the_tokens_present(private_rows: tuple[AttackRow, ...]) -> None:
    spans = {row.view: row for row in private_rows if row.attack == "span"}
    assert {row.token_budget for row in spans.values()} == {1}  # rank 2 through ∂B
    assert 0 < spans["individual"].tokens_present < spans["sum"].tokens_present < spans["sum-dp"].tokens_present  # type: ignore[operator]


def test_the_same_run_gives_the_same_rows(private_run: TrainedRun, private_rows: tuple[AttackRow, ...]) -> None:
    assert run_attacks(private_run, ignore) == private_rows


def test_an_unprotected_run_is_read_from_its_own_messages(open_run: TrainedRun) -> None:
    heard: list[Event] = []
    rows = run_attacks(open_run, heard.append)
    assert {row.view for row in rows if not row.replay} == {"individual"}
    assert [event.name for event in heard if isinstance(event, PhaseStarted)] == ["attack: span", "attack: membership"]
    for row in rows:
        assert ("ε = 8 would take" in row.note) == row.view.endswith("-dp")
    replayed = next(row for row in rows if row.attack == "span" and row.replay)
    assert all(text.truth for text in replayed.texts)
    assert len(replayed.texts) == 3


def test_texts_stay_hidden_where_the_configuration_says_so(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config({"attacks.show_text": "never", "attacks.run": ["span"]})
    with training_run(config, tmp_path / "run", resume=False, listen=ignore) as trained:
        rows = run_attacks(trained, ignore)
    assert len(rows) == 4
    assert all(row.texts == () for row in rows)


def test_a_decoders_tokens_are_found_and_put_in_order(
    tiny_config: MakeConfig, deeper_llama: Path, tmp_path: Path
) -> None:
    """Its row counts beginnings of texts, and says which tokens were found wherever they stand."""
    config = tiny_config(
        {
            "model.name": str(deeper_llama),
            "model.cue": ":",
            "model.label_words": {"praise": "a", "complaint": "b"},
            "peft.rank": 16,
            "secure_sum.bits": 32,
            "privacy.epsilon": "inf",
            "attacks.run": ["span"],
        }
    )
    with training_run(config, tmp_path / "run", resume=False, listen=ignore) as trained:
        rows = {row.view: row for row in run_attacks(trained, ignore)}
    assert set(rows) == set(VIEWS)
    assert all(row.token_budget == 32 for row in rows.values())
    assert "distinct tokens found wherever they stand, 0 false" in rows["individual"].note
    assert rows["individual"].value == 1.0
    assert rows["individual-dp"].value == rows["sum-dp"].value == 0.0


def test_no_attacks_means_no_rows_and_no_record_means_an_error(tiny_config: MakeConfig, tmp_path: Path) -> None:
    with training_run(tiny_config({"attacks.run": []}), tmp_path / "a", resume=False, listen=ignore) as trained:
        assert run_attacks(trained, ignore) == ()
    with training_run(tiny_config(), tmp_path / "b", resume=False, listen=ignore) as trained:
        for file in trained.directory.transcript.iterdir():
            file.unlink()
        with pytest.raises(AttackError, match="no recorded round"):
            run_attacks(trained, ignore)


def test_fedmia_reads_single_messages_and_says_why_it_cannot_read_sums(open_run: TrainedRun) -> None:
    config = open_run.federation.config
    config = config.model_copy(update={"attacks": config.attacks.model_copy(update={"run": ("fedmia",)})})
    rows = run_attacks(replace(open_run, federation=replace(open_run.federation, config=config)), ignore)
    assert [row.view for row in rows] == list(VIEWS)
    for row in rows:
        assert (row.value is None) == row.view.startswith("sum")
    assert all("needs individual updates" in row.note for row in rows if row.value is None)


@pytest.mark.slow
def test_every_other_membership_attack_can_be_asked_for(tiny_config: MakeConfig, tmp_path: Path) -> None:
    names = ["update-cosine", "lira-offline", "rmia", "quantile"]
    many = {"data.synthetic.examples": 700, "data.validation_fraction": 0.3, "data.test_fraction": 0.3}
    config = tiny_config({"attacks.run": names, **many})
    with training_run(config, tmp_path / "run", resume=False, listen=ignore) as trained:
        rows = run_attacks(trained, ignore)
    assert [(row.attack, row.view) for row in rows] == [(name, view) for name in names for view in VIEWS]
    assert all(row.value is not None and row.null is not None for row in rows)


@pytest.mark.slow
def test_an_attack_without_public_texts_to_compare_with_says_so(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config({"attacks.run": ["rmia"]})
    with training_run(config, tmp_path / "run", resume=False, listen=ignore) as trained:
        rows = {row.view: row for row in run_attacks(trained, ignore)}
    assert set(rows) == set(VIEWS)
    assert rows["sum-dp"].value is None
    assert "RMIA needs a population" in rows["sum-dp"].note
