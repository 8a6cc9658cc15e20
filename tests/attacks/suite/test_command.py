"""`fedpeft attack`: keys, streams, exit statuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from attacks.suite.reopen import keep_rows
from fedpeft_secure import cli
from fedpeft_secure.config_file import dump_config
from fedpeft_secure.rundir import read_run
from tests.fedpeft_secure.conftest import MakeConfig

KEYS = {"recovered", "rouge1", "rouge2", "token_recall", "false_positives", "token_budget", "tokens_present", "seconds"}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["attack", *map(str, arguments)])


@pytest.fixture(scope="module")
def config_path(tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(dump_config(tiny_config({"attacks.run": ["span"]})))
    return path


@pytest.fixture(scope="module")
def finished(config_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("run") / "finished"
    return out, call(config_path, "--out", out, "--json")


def test_own_sentences_give_one_json_object_with_the_promised_keys(config_path: Path) -> None:
    shown = call(config_path, "--text", "the room was clean", "--text", "the meal was cold", "--view", "sum", "--json")
    assert shown.exit_code == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert set(found) >= KEYS
    assert not shown.stderr
    assert found["view"] == "sum"
    assert found["tokens_present"] > found["token_budget"]
    assert (found["recovered"], found["false_positives"]) == ([], 0)


def test_two_clients_get_the_sum_that_protocols_refuse(config_path: Path) -> None:
    two = [option for key in ("clients.count=2", "clients.per_round=2") for option in ("--set", key)]
    shown = call(config_path, "--text", "the room was clean", *two)
    assert shown.exit_code == 0, shown.stderr
    assert "view sum-dp" in shown.stdout
    assert shown.stderr.splitlines()[-2:] == ["the attacked step, view sum-dp", "attack: span"]
    assert "warm-up round 4 of 4" in shown.stderr
    assert "refuse" in " ".join(shown.stdout.split())


def test_a_configuration_is_run_and_its_rows_are_shown(finished: tuple[Path, Result]) -> None:
    out, shown = finished
    assert shown.exit_code == 0, shown.stderr
    rows = json.loads(shown.stdout)
    assert rows == json.loads((out / "result.json").read_text())["attacks"]
    assert {row["view"] for row in rows} == {"individual", "individual-dp", "sum", "sum-dp"}
    assert (out / "report.html").is_file()


def test_a_finished_run_is_attacked_again_as_it_was(finished: tuple[Path, Result]) -> None:
    out, first = finished
    again = call(out, "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert json.loads((out / "result.json").read_text())["attacks"] == json.loads(first.stdout)


def test_new_rows_take_the_place_of_those_of_the_same_attack(finished: tuple[Path, Result]) -> None:
    out, _ = finished
    rows = read_run(out).result.attacks
    keep_rows(out, (rows[0].model_copy(update={"attack": "membership"}),))
    assert [row.attack for row in read_run(out).result.attacks] == ["membership", *["span"] * 4]
    keep_rows(out, rows)
    assert [row.attack for row in read_run(out).result.attacks] == ["span"] * 4 + ["membership"]


def test_own_sentences_start_from_the_adapter_of_a_run(finished: tuple[Path, Result]) -> None:
    shown = call(finished[0], "--text", "the room was clean", "--view", "individual", "--json")
    assert shown.exit_code == 0, shown.stderr
    assert set(json.loads(shown.stdout)) >= KEYS


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--text", "a", "--view", "nothing"), 2, "--view"),
        (("--view", "sum"), 2, "--text"),
        (("--text", "a", "--out", "x"), 2, "--out"),
        (("--text", "a", "--set", "privacy.unit=client"), 2, "privacy.unit"),
        (("missing.toml",), 2, "missing.toml"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], status: int, words: str) -> None:
    shown = call(*arguments)
    assert (shown.exit_code, shown.stderr.count("\n")) == (status, 1)
    assert words in shown.stderr


def test_only_attack_settings_of_a_run_may_change(finished: tuple[Path, Result]) -> None:
    shown = call(finished[0], "--set", "seed=3")
    assert shown.exit_code != 0
    assert "attacks.*" in shown.stderr
