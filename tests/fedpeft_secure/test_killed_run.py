"""A run that is killed without warning, at many random moments, and resumed."""

import multiprocessing
import signal
import subprocess
import sys
import time
from collections import Counter
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest

import dp
from fedpeft_secure.cli import run
from fedpeft_secure.config_file import dump_config
from fedpeft_secure.result import Result, RoundRecord

COMMAND = (sys.executable, "-c", "from fedpeft_secure.cli import main; main()")
KILLS = 50
SECURE_KILLS = 15


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts processes that have imported everything: of their time only the run is left."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fedpeft_secure.server.job", "attacks.suite", "evaluations.report", "opacus"])
    return context


def kill_after(processes: ForkServerContext, config: Path, out: Path, *, charged: bool, seconds: float) -> bool:
    """Kills a run some seconds after its start, or after its first charge; whether it was still going on."""
    process = processes.Process(target=run, args=(config,), kwargs={"out": out})
    process.start()
    while charged and process.is_alive() and not holds_a_charge(out):
        time.sleep(0.01)
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def holds_a_charge(out: Path) -> bool:
    log = out / "ledger.sqlite-wal"
    return log.exists() and log.stat().st_size > 40_000


def time_of(config: Path, out: Path) -> tuple[float, float]:
    """Seconds that an undisturbed run takes before its first charge, and from there to its end."""
    started = time.perf_counter()
    run(config, out=out)
    ended = time.perf_counter()
    rounds = sum(sum(record.seconds.values()) for record in records(out))
    return ended - started - rounds, rounds


def records(out: Path) -> list[RoundRecord]:
    return [RoundRecord.model_validate_json(line) for line in (out / "rounds.jsonl").read_text().splitlines()]


def charges(out: Path) -> list[dp.Charge]:
    if not (out / "ledger.sqlite").exists():
        return []
    with dp.Ledger.read(out / "ledger.sqlite") as ledger:
        ledger.verify()
        return [charge for client in ledger.clients() for charge in ledger.history(client)]


def comparable(charged: list[dp.Charge]) -> list[tuple[str, int, int, str, str]]:
    """Without the run's name, which is random so that runs on one ledger are never confused."""
    rows = [(c.client, c.release.round, c.release.attempt, repr(c.event), c.contribution_digest) for c in charged]
    return sorted(rows)


def end(config: Path, out: Path) -> Result:
    """Resumes what was killed; what was killed before it began is begun."""
    if (out / "result.json").exists():
        return Result.from_json((out / "result.json").read_text())
    return run(config, out=out, resume=(out / "config.toml").exists())


@pytest.fixture
def config(tiny_config, tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(dump_config(tiny_config({"training.rounds": 6, "attacks.run": []})))
    return path


@pytest.mark.slow
def test_a_killed_simulation_resumes_to_the_ledger_and_result_of_an_uninterrupted_one(
    processes: ForkServerContext, config: Path, tmp_path: Path
) -> None:
    run(config, out=tmp_path / "first")  # fills the caches of this process and of the file system
    setup, rounds = time_of(config, tmp_path / "whole")
    whole = Result.from_json((tmp_path / "whole/result.json").read_text())
    wanted = comparable(charges(tmp_path / "whole"))
    killed, amid_rounds = 0, 0
    rng = np.random.default_rng(0)
    for number in range(KILLS):
        out, charged = tmp_path / f"killed-{number}", number % 5 > 0
        seconds = rng.uniform(0, 1.2 * rounds) if charged else rng.uniform(0, setup)
        killed += kill_after(processes, config, out, charged=charged, seconds=seconds)
        before = charges(out)
        amid_rounds += 0 < len(before) < len(wanted)
        if len(before) == len(wanted):
            rounds *= 0.9  # the machine is less busy than when it was timed: kill earlier
        again = end(config, out)
        assert set(comparable(before)) <= set(comparable(charges(out)))
        assert comparable(charges(out)) == wanted
        assert (again.utility, again.privacy.clients) == (whole.utility, whole.privacy.clients)
        adapter = "adapter/adapter_model.safetensors"
        assert (out / adapter).read_bytes() == (tmp_path / "whole" / adapter).read_bytes()
    assert killed >= KILLS * 3 // 4, "the runs were over before they could be killed; the test proved nothing"
    assert amid_rounds >= KILLS // 3, "too few were killed between two charges"


@pytest.mark.slow
def test_with_secure_noise_no_charge_is_missing(processes: ForkServerContext, tiny_config, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(dump_config(tiny_config({"attacks.run": [], "training.rounds": 6, "privacy.noise": "secure"})))
    _, rounds = time_of(config, tmp_path / "whole")
    rng, repeated = np.random.default_rng(0), 0
    for number in range(SECURE_KILLS):
        out = tmp_path / f"killed-{number}"
        kill_after(processes, config, out, charged=True, seconds=rng.uniform(0, rounds))
        before = charges(out)
        result = end(config, out)
        after = charges(out)
        assert set(comparable(before)) <= set(comparable(after))
        for record in records(out):
            paid = {c.client for c in after if (c.release.round, c.release.attempt) == (record.round, record.attempt)}
            assert set(record.survivors) <= paid, "somebody's update is in the sum and in no ledger"
        releases = Counter(charge.client for charge in after)
        repeated += max(releases.values()) > 6
        for row in result.privacy.clients:
            assert row.epsilon_spent <= row.epsilon_budget
            assert releases[row.client] == sum(c.event.steps for c in after if c.client == row.client)
    assert repeated, "no round was ever interrupted and repeated; the test proved nothing"


def test_a_second_process_is_kept_out_of_a_run_directory(tiny_config, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(dump_config(tiny_config({"training.rounds": 2000, "attacks.run": []})))
    out = tmp_path / "run"
    first = subprocess.Popen([*COMMAND, "run", str(config), "--out", str(out)], stderr=subprocess.DEVNULL)
    try:
        while first.poll() is None and not holds_a_charge(out):
            time.sleep(0.02)
        second = subprocess.run([*COMMAND, "run", "--resume", str(out)], capture_output=True, text=True, check=False)
        assert second.returncode == 2
        assert second.stderr.count("\n") == 1
        assert "another process" in second.stderr
    finally:
        first.kill()
        first.wait()
