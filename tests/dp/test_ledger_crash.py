"""Killed at any moment, the ledger holds every charge that was acknowledged, intact, and lets the next writer in."""

import hashlib
import random
import subprocess
import sys
import time

import pytest

from dp import Ledger, ReleaseId
from dp.errors import LedgerInUse

WRITER = """
import hashlib, sys
from dp import Ledger, NonPrivate, PrivacyBudget, ReleaseId

def contribution(number):
    return hashlib.sha256(str(number).encode()).digest() * 2000

with Ledger.open(sys.argv[1]) as ledger:
    print("open", flush=True)
    for number in range(len(ledger.history("a")), 10_000):
        ledger.charge(
            client="a",
            release=ReleaseId(run="run", round=number),
            event=NonPrivate(),
            budget=PrivacyBudget(epsilon=float("inf"), delta=1e-5),
            contribution=contribution(number),
        )
        print(number, flush=True)
"""


def contribution(number):
    return hashlib.sha256(str(number).encode()).digest() * 2000


def start(path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "open\n"
    return writer


def kill(writer):
    """Kills with SIGKILL and returns the last charge that the writer believed in; it would have been sent."""
    writer.kill()
    lines = writer.stdout.read().splitlines()
    writer.wait()
    writer.stdout.close()
    return int(lines[-1]) if lines else None


def survive(path, kills, seed):
    rng = random.Random(seed)  # noqa: S311
    for _ in range(kills):
        writer = start(path)
        time.sleep(rng.uniform(0.0, 0.15))
        acknowledged = kill(writer)
        with Ledger.open(path) as ledger:
            ledger.verify()
            history = ledger.history("a")
            assert [c.release.round for c in history] == list(range(len(history)))
            if acknowledged is not None:
                assert len(history) - (acknowledged + 1) in {0, 1}, "one charge may be stored and not yet believed in"
                release = ReleaseId(run="run", round=acknowledged)
                assert ledger.contribution("a", release) == contribution(acknowledged)
            assert all(c.contribution_bytes == 64_000 for c in history)
    return len(history)


def test_killed_at_random_moments(tmp_path):
    assert survive(tmp_path / "ledger.sqlite", kills=6, seed=1) > 6


@pytest.mark.slow
def test_killed_at_fifty_random_moments(tmp_path):
    assert survive(tmp_path / "ledger.sqlite", kills=50, seed=2) > 50


def test_another_process_is_refused_until_the_writer_dies(tmp_path):
    path = tmp_path / "ledger.sqlite"
    writer = start(path)
    try:
        with pytest.raises(LedgerInUse, match="another writer"):
            Ledger.open(path)
        with Ledger.read(path) as reader:
            reader.verify()
    finally:
        kill(writer)
    Ledger.open(path).close()
