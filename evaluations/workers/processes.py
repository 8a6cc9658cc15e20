"""Worker processes: how many, with how many threads, and which of them trains what next."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import psutil

from evaluations.workers.messages import Order, Report

MEMORY_BYTES = 2 * 2**30
"""What one process is taken to need: the default run's peak is 1.4 GB."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
WORKER = ("-m", "evaluations.workers.worker")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """An order with its place in the list; jobs of one group are best done by one process."""

    place: int
    group: int
    order: Order


Heard = Callable[[Job, Report], None]
"""Told about every report of every job."""


@dataclass(kw_only=True, slots=True, eq=False)
class _Worker:
    """A process and what it is doing; `group` is that of its last job."""

    process: "subprocess.Popen[str]"
    log: Path
    job: Job | None = None
    group: int = -1

    def start(self, job: Job) -> None:
        self.job, self.group = job, job.group
        assert self.process.stdin is not None  # noqa: S101 - opened as a pipe
        with suppress(BrokenPipeError):  # then its end is heard of next
            self.process.stdin.write(job.order.model_dump_json() + "\n")
            self.process.stdin.flush()


@dataclass(kw_only=True, slots=True, eq=False)
class _Crew:
    """Everybody at work, and what they say: (worker, report), or (worker, None) at its end."""

    command: Sequence[str]
    logs: Path
    threads: int
    reports: "SimpleQueue[tuple[_Worker, Report | None]]" = field(default_factory=SimpleQueue)
    workers: list[_Worker] = field(default_factory=list)
    started: int = 0

    def hire(self) -> _Worker:
        """Starts a process."""
        self.started += 1
        log = self.logs / f"worker-{self.started}.log"
        with log.open("w") as sink:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                env=_environment(self.threads),
                start_new_session=True,  # an interrupt at the terminal is for the sweep alone
            )
        worker = _Worker(process=process, log=log)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        self.workers.append(worker)
        return worker

    def dismiss(self) -> None:
        """Ends every process, whatever it is doing."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.wait()
            for stream in (worker.process.stdin, worker.process.stdout):
                with suppress(BrokenPipeError):
                    if stream is not None:
                        stream.close()

    def _listen(self, worker: _Worker) -> None:
        with suppress(ValueError):  # closed while we were reading
            for line in worker.process.stdout or ():
                self.reports.put((worker, Report.model_validate_json(line)))
        self.reports.put((worker, None))


def default_processes(jobs: int) -> int:
    """As many processes as cores and free memory allow, and no more than there are jobs."""
    by_memory = psutil.virtual_memory().available // MEMORY_BYTES
    return max(1, min(jobs, cores(), by_memory))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def run_jobs(
    jobs: Sequence[Job], *, processes: int, logs: Path, heard: Heard, command: Sequence[str] | None = None
) -> None:
    """Has every job done by some worker process; one that dies fails its job alone, and another takes its place.

    Args:
        jobs: in the order in which they are begun, except that a process goes on with its own group where it can.
        processes: at most as many at once.
        logs: a directory for what the processes print.
        heard: called for every report, in this thread.
        command: what a worker is started by; ours unless given.
    """
    waiting = list(jobs)
    command = command or (sys.executable, *WORKER)
    with _crew(command, logs, threads=max(1, cores() // processes)) as crew:
        for _ in range(min(processes, len(waiting))):
            _next(crew.hire(), waiting)
        while any(worker.job is not None for worker in crew.workers):
            worker, report = crew.reports.get()
            job = worker.job
            if job is None:
                continue
            if report is not None:
                heard(job, report)
                if report.kind == "round":
                    continue
            else:
                heard(job, Report(kind="failed", text=_death(worker)))
                worker.job = None
                worker = crew.hire() if waiting else worker
            worker.job = None
            _next(worker, waiting)


def choose(waiting: Sequence[Job], group: int) -> Job:
    """The next job for a process whose last one was of `group`: of the same, or of the group that most are left of."""
    own = [job for job in waiting if job.group == group]
    left = [job.group for job in waiting]
    return own[0] if own else max(waiting, key=lambda job: (left.count(job.group), -job.place))


def _next(worker: _Worker, waiting: list[Job]) -> None:
    if waiting:
        job = choose(waiting, worker.group)
        waiting.remove(job)
        worker.start(job)


def _death(worker: _Worker) -> str:
    code = worker.process.wait()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
    memory = ", as a system does that runs out of memory" if code == -9 else ""
    return f"its process {how}{memory}; {worker.log} has what it printed"


@contextmanager
def _crew(command: Sequence[str], logs: Path, *, threads: int) -> Iterator[_Crew]:
    logs.mkdir(parents=True, exist_ok=True)
    crew = _Crew(command=command, logs=logs, threads=threads)
    try:
        yield crew
    finally:
        crew.dismiss()


def _limit(name: str, threads: int) -> int:
    """What somebody has set already; lists for nested regions are left out."""
    given = os.environ.get(name, "")
    return int(given) if given.isdigit() else threads


def _environment(threads: int) -> dict[str, str]:
    """Our own environment, with the processor's threads divided and the same places to import from."""
    given = {name: str(min(threads, _limit(name, threads))) for name in THREADS}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, **given, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
