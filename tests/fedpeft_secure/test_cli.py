"""The command line: exit statuses, one-line errors, and what goes to which stream."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import dp
import fedpeft_secure
import secagg
from fedpeft_secure import cli
from fedpeft_secure.config_file import dump_config, load_config

COMMANDS = ("run", "budget", "compare", "sweep", "recommend", "report", "doctor", "keys", "bench", "characteristics")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def config_path(tiny_config, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(dump_config(tiny_config({"attacks.run": []})))
    return path


@pytest.fixture(scope="module")
def finished(config_path, tmp_path_factory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("run") / "finished"
    return out, call("run", config_path, "--out", out, "--json")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    shown = call(command, "--help")
    assert shown.exit_code == 0
    assert command == "bench" or "Example: fedpeft" in shown.output


def test_the_help_says_what_an_argument_is():
    assert "A finished run, or a TOML file." in call("attack", "--help").stdout


def test_version():
    assert call("--version").stdout.strip() == fedpeft_secure.__version__


def test_run_prints_result_json_alone_on_standard_output(finished):
    out, done = finished
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((out / "result.json").read_text())
    assert "accuracy" in done.stderr
    assert "round 2/2" in done.stderr


def test_characteristics_writes_a_file_that_a_run_can_name(config_path, tmp_path):
    file, ledger = tmp_path / "importance.toml", f'privacy.ledger="{tmp_path / "ledger.sqlite"}"'
    deal = ["--set", 'allocation.strategy="adaptive"', "--set", f'allocation.importance="{file}"']
    exact = call("characteristics", config_path, *deal, "--set", 'privacy.epsilon="inf"', "--out", file, "--json")
    assert exact.exit_code == 0, exact.stderr
    assert "signal to noise" in exact.stderr
    written = load_config(config_path, overrides=[each for each in deal if each != "--set"]).allocation.importance
    assert json.loads(exact.stdout) == written.model_dump(mode="json")
    again = call("characteristics", config_path, "--set", ledger, "--out", file)
    assert again.exit_code == 2
    assert again.stderr == f"fedpeft: --out {file}: give a new file in a directory that is there\n"
    poor = ["--set", ledger, "--set", "allocation.importance_noise=0.1", "--out", tmp_path / "other.toml"]
    refused = call("characteristics", config_path, *poor)
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[-1].startswith("fedpeft: allocation.importance_noise: client 'client-1'")
    assert not (tmp_path / "other.toml").exists()


def test_a_finished_run_is_not_resumed(finished):
    out, _ = finished
    refused = call("run", "--resume", out)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "finished" in refused.stderr


@pytest.mark.parametrize(("name", "words"), [("letter", "choose another privacy.ledger"), ("used", "another writer")])
def test_a_ledger_in_use_or_no_ledger_is_bad_input(name, words, config_path, tmp_path):
    (tmp_path / "letter.sqlite").write_bytes(b"Dear reader, " * 100)
    with dp.Ledger.open(tmp_path / "used.sqlite"):
        ledger = f"privacy.ledger={tmp_path / name}.sqlite"
        refused = call("run", config_path, "--set", ledger, "--out", tmp_path / "run")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert words in refused.stderr
    assert not (tmp_path / "run").exists()


def test_report_writes_the_page_again(finished):
    out, _ = finished
    (out / "report.html").unlink()
    done = call("report", out)
    assert done.exit_code == 0
    assert Path(done.stdout.strip()) == out / "report.html"
    assert (out / "report.html").stat().st_size > 100_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--set", "privacy.epsilonn=3"), ("privacy.epsilonn", "did you mean 'privacy.epsilon'")),
        (("run", "--set", "training.rounds=many"), ("training.rounds", "integer")),
        (("run", "no-such-file.toml"), ("no-such-file.toml", "existing TOML file")),
        (("run", "--set", "data.name=missing.csv"), ("data.name", "missing.csv")),
        (("run", "--set", "model.name=./no-model"), ("model.name", "existing path")),
        (("run", "--set", "privacy.epsilon=1e-9"), ("privacy.epsilon", "raise it")),
        (("run", "--set", "clients.per_round=3"), ("clients.per_round", "5 clients")),
        (("run", "--set", "clients.per_round=4"), ("clients.per_round", 'secure_sum.protocol = "helper"')),
        (("budget", "--export", "no/plan.csv"), ("--export", "there is no directory no")),
        (
            ("budget", "--set", "privacy.unit=client", "--set", "privacy.groups={a={epsilon=2.0,share=1.0}}"),
            ("privacy.groups", 'privacy.unit = "example"'),
        ),
        (("run", "--resume", "no-such-run"), ("no-such-run", "config.toml")),
        (("run", "--resume", "x", "--set", "seed=1"), ("--resume", "leave")),
        (("report", "no-such-run"), ("no-such-run", "config.toml")),
        (("budget", "--set", "privacy.per_client.client-99=1"), ("privacy.per_client", "client-99")),
    ],
)
def test_bad_input_is_one_line_that_names_setting_and_remedy(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = call(*arguments)
    assert refused.exit_code == 2, refused.output
    assert refused.stdout == ""
    errors = [line for line in refused.stderr.splitlines() if line.startswith("fedpeft:")]
    assert len(errors) == 1
    assert [word for word in words if word not in errors[0]] == []
    assert "Traceback" not in refused.output
    assert list(tmp_path.rglob("*.*")) == [], "nothing is left half-written"


@pytest.mark.parametrize("begun", [True, False])
def test_an_interrupted_run_names_its_directory(begun, tmp_path, monkeypatch):
    def interrupt(config, *, out, resume, listen):
        if begun:
            out.mkdir()
            (out / "config.toml").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.running, "run", interrupt)
    stopped = call("run", "--out", tmp_path / "mine")
    assert stopped.exit_code == 130
    assert (f"--resume {tmp_path / 'mine'}" in stopped.stderr) == begun
    assert stopped.stderr.count("\n") == 1


def test_debug_shows_where_an_error_came_from():
    with pytest.raises(fedpeft_secure.errors.ConfigError):
        CliRunner().invoke(cli.app, ["run", "--set", "foo=1", "--debug"], catch_exceptions=False)


def test_budget_before_any_training(config_path):
    done = call("budget", config_path, "--json")
    rows = json.loads(done.stdout)
    assert [row["client"] for row in rows] == [f"client-{index}" for index in range(1, 6)]
    for row in rows:
        assert 0 < row["epsilon_planned"] <= row["epsilon_budget"] == 8.0
        assert row["signal_to_noise_of_sum"] == pytest.approx(row["signal_to_noise"] * 5**0.5)
    assert "σ/C" in call("budget", config_path).stdout


def test_budget_exports_its_plan_and_takes_it_back(config_path, tmp_path):
    assert call("budget", config_path, "--export", tmp_path / "plan.csv").exit_code == 0
    again = call("budget", config_path, "--set", f"privacy.per_client={tmp_path / 'plan.csv'}", "--json")
    assert json.loads(again.stdout) == json.loads(call("budget", config_path, "--json").stdout)
    refused = call("budget", config_path, "--export", tmp_path / "plan.csv")
    assert refused.exit_code == 2
    assert "give a new one" in refused.stderr


def test_a_csv_of_a_plan_with_groups_says_that_it_holds_none(config_path, tmp_path):
    groups = "privacy.groups={strict={epsilon=2.0,share=0.5},open={epsilon=8.0,share=0.5}}"
    done = call("budget", config_path, "--set", groups, "--export", tmp_path / "plan.csv")
    assert done.exit_code == 0
    assert "plan.csv holds no groups: give it back only beside the same privacy.groups" in done.stderr
    assert call("budget", config_path, "--export", tmp_path / "other.csv").stderr == ""


def test_budget_reads_a_ledger(finished, config_path):
    out, _ = finished
    clients = json.loads((out / "result.json").read_text())["privacy"]["clients"]
    rows = json.loads(call("budget", "--ledger", out / "ledger.sqlite", "--json").stdout)
    spent = {row["client"]: row["epsilon_spent"] for row in clients}
    assert {row["client"]: row["epsilon_spent"] for row in rows} == spent
    against = json.loads(call("budget", config_path, "--ledger", out / "ledger.sqlite", "--json").stdout)
    assert all(row["left"]["rounds_affordable"] == 0 for row in against)
    assert "rounds left" in call("budget", config_path, "--ledger", out / "ledger.sqlite").stdout
    assert call("budget", "--ledger", out / "none.sqlite").exit_code == 2
    assert call("budget", "--ledger", out / "ledger.sqlite", "--export", "x.csv").exit_code == 2


def test_doctor_knows_the_versions():
    found = json.loads(call("doctor", "--json").stdout)
    assert found["fedpeft-secure"] == fedpeft_secure.__version__
    assert found["minilm"] == "packaged"


def test_keys_are_made_once_and_kept_secret(tmp_path):
    path = tmp_path / "own.key"
    done = call("keys", "--out", path)
    assert done.exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().hex() not in done.output
    private = path.read_bytes()
    again = call("keys", "--out", path)
    assert again.exit_code == 2
    assert path.read_bytes() == private


def test_keys_are_encrypted_with_the_passphrase_of_a_file(tmp_path):
    (tmp_path / "passphrase").write_text("correct horse\n")
    done = call("keys", "--out", tmp_path / "own.key", "--passphrase-file", tmp_path / "passphrase")
    assert done.exit_code == 0
    identity = secagg.Identity.load(tmp_path / "own.key", passphrase=b"correct horse")
    assert identity.public.hex() == done.stdout.strip()
    with pytest.raises(secagg.WireError, match="give its passphrase"):
        secagg.Identity.load(tmp_path / "own.key")
    missing = call("keys", "--out", tmp_path / "other.key", "--passphrase-file", tmp_path / "none")
    assert missing.exit_code == 2
    assert "passphrase_file" in missing.stderr


def test_a_node_without_settings_is_bad_input(tmp_path):
    for command in (("node",), ("key-holder", "serve"), ("doctor", "--connect")):
        done = call(*command, tmp_path / "none.toml")
        assert done.exit_code == 2
        assert "give an existing TOML file" in done.stderr


def test_bench_secure_sum_counts_bytes_and_error():
    done = call("bench", "secure-sum", "--clients", 10, "--dim", 500, "--dropout", 0.1, "--json")
    cost = json.loads(done.stdout)
    assert {"seconds", "client_seconds", "server_seconds", "upload_bytes", "download_bytes"} <= set(cost)
    assert {"degree", "threshold", "max_error"} <= set(cost)
    assert cost["dropped"] == 1
    assert 0 < cost["max_error"] < 1e-4


def test_bench_secure_sum_of_another_protocol():
    size = ("--clients", 5, "--dim", 50, "--dropout", 0, "--json")
    cost = json.loads(call("bench", "secure-sum", "--protocol", "helper", *size).stdout)
    assert (cost["protocol"], cost["degree"], cost["threshold"]) == ("helper", None, None)
    assert set(cost["key_holder_seconds"]) == {"announce", "open"}
    refused = call("bench", "secure-sum", "--protocol", "bfv", *size)
    assert refused.exit_code == 2
    assert 'give "curious"' in refused.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sweep",), ("--over", "for example --over privacy.epsilon=1,3,8,inf")),
        (("sweep", "--over", "privacy.epsilonn=1"), ("--over privacy.epsilonn", "did you mean 'privacy.epsilon'")),
        (("sweep", "--over", "peft.rank=0,4"), ("--over peft.rank=0", "greater than or equal to 1")),
        (("sweep", "--over", "peft.rank=4", "--seeds", "0"), ("--seeds 0", "at least 1")),
        (("sweep", "--resume", "runs/none", "--seeds", "3"), ("--resume", "leave CONFIG, --over, --seeds")),
        (("sweep", "--resume", "runs/none"), ("runs/none", "no sweep")),
        (("recommend", "--evidence", "runs/none"), ("--evidence runs/none", "no finished run")),
        (("recommend", "--max-leakage", "much"), ("--max-leakage", "membership.AUC=0.55")),
        (("compare", "--attack", "telepathy"), ("--attack telepathy", "there are span, ")),
    ],
)
def test_what_sweeps_and_recommendations_cannot_use_is_one_line(arguments, words):
    refused = call(*arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert all(word in refused.stderr for word in words), refused.stderr


def test_a_run_is_evidence_for_a_recommendation_that_can_be_run(finished, tmp_path):
    out, _ = finished
    asked = call("recommend", "--evidence", out, "--min-accuracy", "0.01", "--out", tmp_path / "a", "--json")
    assert asked.exit_code == 0, asked.stderr
    assert json.loads(asked.stdout)["status"] == "unsure", "one seed has no interval"
    config = load_config(tmp_path / "a" / "recommended.toml")
    assert config.privacy.epsilon == 8.0
    failed = call("recommend", "--evidence", out, "--min-accuracy", "0.999", "--out", tmp_path / "b")
    assert (failed.exit_code, failed.stderr.count("What binds: accuracy")) == (1, 1)
