"""Processes of this machine that train simulated clients side by side, for a run with `clients.workers` above 1."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.clients.trainer import Trained
from fedpeft_secure.config import Config
from fedpeft_secure.engines.flower.forward import FrameError, receive, send
from fedpeft_secure.engines.training_orders import DONE, REFUSED, Seat, TrainingOrder, TrainingReply, unpack_trained
from fedpeft_secure.errors import PolicyError, RunFailedError, TrainingFailedError
from fedpeft_secure.plans import pack_request

PROGRAM = "fedpeft_secure.engines.training_worker"
END_SECONDS = 10.0


@dataclass(kw_only=True, slots=True, eq=False)
class Worker:
    """One process, and the replies that came before anybody asked for them."""

    process: subprocess.Popen[bytes] = field(repr=False)
    connection: socket.socket = field(repr=False)
    early: dict[int, TrainingReply] = field(default_factory=dict, repr=False)

    def send(self, frame: bytes) -> None:
        """Sends one frame; raises RunFailedError if nobody is there."""
        try:
            send(self.connection, frame)
        except OSError:
            raise self._gone() from None

    def wait(self, number: int) -> TrainingReply:
        """The reply to one order; raises RunFailedError if nobody is there."""
        while number not in self.early:
            try:
                reply = TrainingReply.from_bytes(receive(self.connection))
            except (OSError, FrameError):
                raise self._gone() from None
            self.early[reply.number] = reply
        return self.early.pop(number)

    def close(self) -> None:
        """Ends the process, which goes when its socket does."""
        self.connection.close()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _gone(self) -> RunFailedError:
        return RunFailedError(
            "clients.workers: a process that trains clients has ended; `--resume` goes on; if memory is short, lower it"
        )


@dataclass(kw_only=True, slots=True, eq=False)
class TrainingWorkers:
    """Trains every client in the process that has its seat; an `Elsewhere`.

    Guarantee: the update is the one that this process would have found, to the bit, where each computes with as many
        threads: randomness follows from the seed and the plan, not from who is first.
    Does not cover: secrets. Updates pass between processes of one user on one machine, as in one process.

    Args:
        seats: {client: its worker}.
        start: the adapter before the first round, where requests hold what changed since; else None.
        begun: {client: (the request that it works on, the number of that order)}.
        number: of the newest order.
    """

    seats: Mapping[str, Worker] = field(repr=False)
    start: AdapterState | None = field(default=None, repr=False)
    begun: dict[str, tuple[bytes, int]] = field(default_factory=dict, repr=False)
    number: int = 0

    def begin(self, client: str, request: bytes) -> None:
        """See `Elsewhere`."""
        self.seats[client].early.clear()  # nobody waits for the replies of an earlier round
        self.begun[client] = (request, self._order(client, request))

    def train(self, client: str, context: RoundContext) -> Trained:
        """See `Elsewhere`."""
        request = pack_request(context.plan, context.state, start=self.start)
        known, number = self.begun.pop(client, (b"", 0))
        if known != request:
            number = self._order(client, request)
        reply = self.seats[client].wait(number)
        if reply.kind == REFUSED:
            raise PolicyError(reply.body.decode())
        if reply.kind != DONE:
            raise TrainingFailedError(f"{client} cannot train: {reply.body.decode()}")
        return unpack_trained(reply.body)

    def _order(self, client: str, request: bytes) -> int:
        self.number += 1
        order = TrainingOrder(number=self.number, client=client, request=request)
        self.seats[client].send(order.to_bytes())
        return self.number


@contextmanager
def training_workers(
    config: Config, *, run: str, ledger_path: Path, start: AdapterState | None
) -> Iterator[TrainingWorkers]:
    """Starts `clients.workers` processes, which end with the block, or with this process, however it dies.

    Args:
        config: the run's, with nothing decided that it leaves open.
        run: its name.
        ledger_path: beside it lie the clients' own values.
        start: as in `TrainingWorkers`.
    """
    count = min(config.clients.workers, config.clients.count)
    threads = max(torch.get_num_threads() // count, 1)
    workers: list[Worker] = []
    try:
        for first in range(count):
            workers.append(_start())
            seat = Seat(
                config=config.to_dict(),
                run=run,
                ledger_path=str(ledger_path.resolve()),
                clients=list(config.client_names[first::count]),
                threads=threads,
            )
            workers[-1].send(seat.model_dump_json().encode())
        seats = {name: workers[index % count] for index, name in enumerate(config.client_names)}
        yield TrainingWorkers(seats=seats, start=start)
    finally:
        for worker in workers:
            worker.close()


def _start() -> Worker:
    """A process that imports what this one can, and has its end of a socket as standard input."""
    ours, theirs = socket.socketpair()
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - this very interpreter, and a module of ours
            (sys.executable, "-P", "-m", PROGRAM),
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": paths},
        )
    return Worker(process=process, connection=ours)
