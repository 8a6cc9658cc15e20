"""Workers of a few lines that do as their orders say: the scheduling is what is tested."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from evaluations.workers import messages
from evaluations.workers.messages import Order, Report
from evaluations.workers.processes import Job, choose, cores, default_processes, run_jobs

FAKE = """
import json, os, sys, time
for line in sys.stdin:
    order = json.loads(line)
    what = order["config"]
    open(order["folder"], "a").write(f"{os.getpid()} {what} {os.environ['OMP_NUM_THREADS']}\\n")
    if what == "die": os._exit(3)
    if what == "kill": os.kill(os.getpid(), 9)
    if what == "long": time.sleep(600)
    print(json.dumps({"kind": "round", "round": 1, "rounds": 2}), flush=True)
    print(json.dumps({"kind": "failed" if what == "fail" else "done", "text": what}), flush=True)
"""
COMMAND = (sys.executable, "-c", FAKE)


def jobs(book: Path, *wanted: str, groups: tuple[int, ...] = ()) -> list[Job]:
    numbers = groups or (0,) * len(wanted)
    return [
        Job(place=place, group=group, order=Order(config=what, folder=str(book)))
        for place, (what, group) in enumerate(zip(wanted, numbers, strict=True))
    ]


def run(tmp_path: Path, listed: list[Job], processes: int) -> dict[int, Report]:
    ended: dict[int, Report] = {}

    def heard(job: Job, report: Report) -> None:
        if report.kind != "round":
            assert job.place not in ended
            ended[job.place] = report

    run_jobs(listed, processes=processes, logs=tmp_path / "logs", heard=heard, command=COMMAND)
    return ended


def entries(book: Path) -> list[list[str]]:
    return [line.split() for line in book.read_text().splitlines()]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_that_fails_or_takes_its_process_along_stops_no_other(tmp_path: Path, processes: int) -> None:
    book = tmp_path / "book"
    ended = run(tmp_path, jobs(book, "a", "fail", "die", "b", "kill", "c"), processes)
    assert [ended[place].kind for place in range(6)] == ["done", "failed", "failed", "done", "failed", "done"]
    assert "ended with status 3" in ended[2].text
    assert "killed by signal 9" in ended[4].text
    assert "runs out of memory" in ended[4].text
    assert ".log has what it printed" in ended[4].text
    assert sorted(what for _, what, _ in entries(book)) == ["a", "b", "c", "die", "fail", "kill"]


def test_the_last_job_may_take_the_last_process_along(tmp_path: Path) -> None:
    assert run(tmp_path, jobs(tmp_path / "book", "a", "die"), 1)[1].kind == "failed"


def test_a_process_stays_with_its_group_and_then_helps_where_most_is_left(tmp_path: Path) -> None:
    waiting = jobs(tmp_path, "a", "b", "x", "y", "z", groups=(0, 0, 1, 1, 1))
    assert choose(waiting, 0).order.config == "a"
    assert choose(waiting, 1).order.config == "x"
    assert choose(waiting, -1).order.config == "x"
    assert choose(waiting[:4], -1).order.config == "a"


def test_threads_are_divided(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run(tmp_path, jobs(tmp_path / "book", "a", "b"), 2)
    assert {threads for _, _, threads in entries(tmp_path / "book")} == {str(max(1, cores() // 2))}


def test_somebodys_own_limit_of_threads_is_kept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run(tmp_path, jobs(tmp_path / "book", "a"), 1)
    assert entries(tmp_path / "book")[0][2] == "1"


def test_an_interrupt_leaves_no_process_behind(tmp_path: Path) -> None:
    book = tmp_path / "book"

    def interrupt(job: Job, report: Report) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs(book, "a", "long"), processes=2, logs=tmp_path / "logs", heard=interrupt, command=COMMAND)
    assert not any(psutil.pid_exists(int(process)) for process, _, _ in entries(book))


def test_workers_die_with_whoever_asked(tmp_path: Path) -> None:
    """The real worker's reader: it ends when nobody holds the other end of its standard input."""
    source = (
        "import importlib.util, sys, threading, time\n"
        "from queue import SimpleQueue\n"
        f"spec = importlib.util.spec_from_file_location('messages', {messages.__file__!r})\n"
        "loaded = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(loaded)\n"
        "threading.Thread(target=loaded.read_orders, args=(sys.stdin, SimpleQueue()), daemon=True).start()\n"
        "print('ready', flush=True)\ntime.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        started = time.monotonic()
        process.stdin.close()
        assert process.wait(timeout=30) == 0
        assert time.monotonic() - started < 30
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_there_are_never_more_processes_than_jobs_or_cores() -> None:
    assert default_processes(1) == 1
    assert 1 <= default_processes(1000) <= cores()
