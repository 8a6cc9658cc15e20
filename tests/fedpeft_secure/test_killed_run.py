"""A run that is killed without warning, at many moments, and resumed from the command line."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dp
from fedpeft_secure.config_file import dump_config
from fedpeft_secure.result import Result

COMMAND = (sys.executable, "-c", "from fedpeft_secure.cli import main; main()")
# Seconds after the ledger appears: from the first charge to somewhere in the last rounds.
MOMENTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def _kill_after_the_first_charge(config: Path, out: Path, seconds: float) -> bool:
    """Starts a run, kills it `seconds` after its ledger holds something; False if it was faster than that."""
    process = subprocess.Popen([*COMMAND, "run", str(config), "--out", str(out)], stderr=subprocess.DEVNULL)
    while process.poll() is None and not _charged(out):
        time.sleep(0.02)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _charged(out: Path) -> bool:
    log = out / "ledger.sqlite-wal"
    return log.exists() and log.stat().st_size > 40_000


def _ledger(out: Path) -> list[tuple[str, int, int, str, str]]:
    with dp.Ledger.read(out / "ledger.sqlite") as ledger:
        ledger.verify()
        charges = [charge for client in ledger.clients() for charge in ledger.history(client)]
    # The run's name is random, so that runs on one ledger are never confused.
    return sorted(
        ((c.client, c.release.round, c.release.attempt, repr(c.event), c.contribution_digest) for c in charges),
        key=repr,
    )


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_result_of_an_uninterrupted_one(tiny_config, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(dump_config(tiny_config({"training.rounds": 6, "attacks.run": []})))
    assert _run("run", str(config), "--out", str(tmp_path / "whole")).returncode == 0
    whole = Result.from_json((tmp_path / "whole/result.json").read_text())
    killed = 0
    for number, seconds in enumerate(MOMENTS):
        out = tmp_path / f"killed-{number}"
        killed += _kill_after_the_first_charge(config, out, seconds)
        before = _ledger(out)
        if not (out / "result.json").exists():
            resumed = _run("run", "--resume", str(out))
            assert resumed.returncode == 0, resumed.stderr
        again = Result.from_json((out / "result.json").read_text())
        assert set(before) <= set(_ledger(out))
        assert _ledger(out) == _ledger(tmp_path / "whole")
        assert (again.utility, again.privacy) == (whole.utility, whole.privacy)
        adapter = "adapter/adapter_model.safetensors"
        assert (out / adapter).read_bytes() == (tmp_path / "whole" / adapter).read_bytes()
    assert killed >= len(MOMENTS) // 2, "the runs were over before they could be killed; the test proved nothing"


def test_a_second_process_is_kept_out_of_a_run_directory(tiny_config, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(dump_config(tiny_config({"training.rounds": 50, "attacks.run": []})))
    out = tmp_path / "run"
    first = subprocess.Popen([*COMMAND, "run", str(config), "--out", str(out)], stderr=subprocess.DEVNULL)
    try:
        while first.poll() is None and not _charged(out):
            time.sleep(0.02)
        second = _run("run", "--resume", str(out))
        assert second.returncode == 2
        assert second.stderr.count("\n") == 1
        assert "another process" in second.stderr
    finally:
        first.kill()
        first.wait()
