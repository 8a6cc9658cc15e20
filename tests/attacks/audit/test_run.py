import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import dp.noise
from attacks.audit import AuditFailedError, AuditResult, audit, audit_table, require_passed
from fedpeft_secure import cli
from fedpeft_secure.config_file import dump_config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.events import Event, PhaseStarted
from tests.attacks.audit.conftest import AuditConfig
from tests.attacks.audit.test_gradients import quarter

FEW = 400


@pytest.fixture(scope="module")
def passed(audit_config: AuditConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AuditResult]:
    out = tmp_path_factory.mktemp("audits") / "honest"
    return out, audit(audit_config({"privacy.per_client": {"client-3": 2.0}}), out, canaries=FEW)


def call(*arguments: object) -> object:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_an_honest_mechanism_passes_and_both_bounds_stand_beside_each_other(passed: tuple[Path, AuditResult]) -> None:
    out, result = passed
    require_passed(result)
    assert result.passed
    assert AuditResult.from_json((out / "audit.json").read_text()) == result
    assert json.loads((out / "audit.json").read_text())["schema"] == 1
    assert 0 <= result.epsilon_lower <= result.epsilon_upper <= result.epsilon_budget == 2.0
    assert "client-3" in result.audited, "the largest budget is audited"
    assert (result.unit, result.delta, result.noise, result.canaries) == ("example", 1e-5, "simulation", FEW)
    assert (result.steps.taken, result.steps.charged) == (4, 4)
    assert result.separation.low <= result.separation.auc <= result.separation.high
    assert [bound.may_fail for bound in result.bounds] == [True, True, True, False]
    assert result.seconds > 0


def test_an_estimate_alone_never_fails(passed: tuple[Path, AuditResult]) -> None:
    _, result = passed
    require_passed(result.model_copy(update={"epsilon_estimate": 100.0}))


def test_whole_clients_are_audited_through_the_secure_sum(audit_config: AuditConfig, tmp_path: Path) -> None:
    heard: list[Event] = []
    config = audit_config({"privacy.unit": "client", "privacy.epsilon": 20.0})
    result = audit(config, tmp_path / "out", canaries=42, listen=heard.append)
    assert result.passed
    assert (result.unit, result.canaries) == ("client", 45)
    assert (result.steps.taken, result.steps.charged) == (45, 45)
    assert sum(isinstance(event, PhaseStarted) and event.name == "audit" for event in heard) == 9


def test_the_same_configuration_gives_the_same_audit(
    audit_config: AuditConfig, tmp_path: Path, passed: tuple[Path, AuditResult]
) -> None:
    again = audit(audit_config({"privacy.per_client": {"client-3": 2.0}}), tmp_path / "out", canaries=FEW)
    assert again.model_copy(update={"seconds": passed[1].seconds}) == passed[1]


def test_no_budget_and_too_many_canaries_are_refused_and_nothing_is_left(
    audit_config: AuditConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"privacy\.epsilon"):
        audit(audit_config({"privacy.epsilon": "inf"}), tmp_path / "out")
    with pytest.raises(ConfigError, match="--canaries"):
        audit(audit_config(), tmp_path / "out", canaries=10**6)
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_json_and_exits_0(audit_config: AuditConfig, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(dump_config(audit_config()))
    done = call("audit", tmp_path / "c.toml", "--out", tmp_path / "out", "--canaries", FEW, "--json")
    assert done.exit_code == 0, done.stderr  # type: ignore[attr-defined]
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "audit.json").read_text())  # type: ignore[attr-defined]
    assert "nothing contradicts the ledger" in done.stderr  # type: ignore[attr-defined]


def test_the_command_exits_1_with_one_line_for_a_broken_mechanism(
    audit_config: AuditConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dp.noise.SeededGaussian, "draw", quarter)
    (tmp_path / "c.toml").write_text(dump_config(audit_config({"training.sample_rate": 0.9})))
    done = call("audit", tmp_path / "c.toml", "--out", tmp_path / "out", "--canaries", 1000)
    assert done.exit_code == 1  # type: ignore[attr-defined]
    errors = [line for line in done.stderr.splitlines() if line.startswith("fedpeft:")]  # type: ignore[attr-defined]
    assert len(errors) == 1
    assert "is not what was charged for" in errors[0]
    assert "Contradicts the ledger" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert not AuditResult.from_json((tmp_path / "out" / "audit.json").read_text()).passed


@pytest.mark.parametrize("arguments", [("--set", "privacy.epsilon=inf"), ("--set", "privacy.epsilonn=1")])
def test_bad_input_exits_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = call("audit", *arguments, "--out", tmp_path / "out")
    assert done.exit_code == 2  # type: ignore[attr-defined]
    assert "privacy.epsilon" in done.stderr  # type: ignore[attr-defined]


def test_more_problems_than_one_are_counted_and_shown(passed: tuple[Path, AuditResult]) -> None:
    broken = passed[1].model_copy(update={"problems": ("first", "second")})
    with pytest.raises(AuditFailedError, match=r"first \(and 1 more in audit"):
        require_passed(broken)
    console = Console(width=200, file=StringIO(), record=True)
    console.print(audit_table(broken))
    assert "FAILED: first; second" in console.export_text()


@pytest.mark.slow
def test_a_finished_run_has_its_ledger_replayed(audit_config: AuditConfig, tmp_path: Path) -> None:
    from fedpeft_secure import run

    run(audit_config({"attacks.run": []}), out=tmp_path / "run")
    done = call("audit", tmp_path / "run", "--out", tmp_path / "out", "--canaries", FEW)
    assert done.exit_code == 0, done.stderr  # type: ignore[attr-defined]
    lines = (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()
    (tmp_path / "run" / "rounds.jsonl").write_text("\n".join([*lines, lines[-1].replace('"round":4', '"round":5')]))
    done = call("audit", tmp_path / "run", "--out", tmp_path / "again", "--canaries", FEW)
    assert done.exit_code == 1  # type: ignore[attr-defined]
    assert "round 5 was never charged" in done.stderr  # type: ignore[attr-defined]
