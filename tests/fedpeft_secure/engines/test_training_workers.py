"""Processes that train: the same bits, the same charges, and nobody left behind."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

import dp
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.clients.trainer import Trained
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import dump_config
from fedpeft_secure.engines.flower.forward import receive, send
from fedpeft_secure.engines.training_orders import DONE, FAILED, REFUSED, TrainingOrder, TrainingReply, pack_trained
from fedpeft_secure.engines.training_workers import TrainingWorkers, Worker
from fedpeft_secure.errors import PolicyError, RunFailedError, TrainingFailedError
from fedpeft_secure.events import ClientTrained, Event, ignore
from fedpeft_secure.plans import pack_request
from fedpeft_secure.result import RoundRecord
from fedpeft_secure.server import job
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.job import training_run

COMMAND = (sys.executable, "-c", "from fedpeft_secure.cli import main; main()")


class Answering:
    """The other end of a worker's socket; `kind` is what it says to everything, in pairs and backwards."""

    def __init__(self, kind: str = DONE, *, orders: int = 2) -> None:
        ours, self.theirs = socket.socketpair()
        process = subprocess.Popen((sys.executable, "-c", ""), stdin=subprocess.DEVNULL)
        self.worker = Worker(process=process, connection=ours)
        self.seen: list[TrainingOrder] = []
        self.thread = threading.Thread(target=self._answer, args=(kind, orders), daemon=True)
        self.thread.start()

    def _answer(self, kind: str, orders: int) -> None:
        self.seen += [TrainingOrder.from_bytes(receive(self.theirs)) for _ in range(orders)]
        for order in reversed(self.seen):
            trained = Trained(delta={"w": np.full(2, order.number, np.float32)}, examples=1, seconds=0.5)
            body = pack_trained(trained) if kind == DONE else b"client-1 would rather not"
            send(self.theirs, TrainingReply(number=order.number, kind=kind, body=body).to_bytes())
        self.theirs.close()


@pytest.fixture
def context(make_federation: Callable[..., Federation]) -> RoundContext:
    federation = make_federation()
    return RoundContext(plan=federation.agreed, spec=federation.backbone.spec, state=federation.start)


def test_each_gets_its_own_reply_whatever_the_order_and_the_dead_are_noticed(context: RoundContext) -> None:
    other = Answering()
    workers = TrainingWorkers(seats={"client-1": other.worker, "client-3": other.worker})
    request = pack_request(context.plan, context.state)
    for name in ("client-1", "client-3"):
        workers.begin(name, request)
    assert workers.train("client-1", context).delta["w"][0] == 1
    assert workers.train("client-3", context).delta["w"][0] == 2
    assert [order.client for order in other.seen] == ["client-1", "client-3"], "nobody trained twice"
    other.thread.join()
    with pytest.raises(RunFailedError, match=r"clients\.workers: .*--resume"):
        workers.train("client-1", context)
    other.worker.close()


def test_a_client_that_is_sent_a_delta_trains_once_too(context: RoundContext) -> None:
    other = Answering(orders=1)
    start = AdapterState({name: value + 1 for name, value in context.state.values.items()})
    workers = TrainingWorkers(seats={"client-1": other.worker}, start=start)
    workers.begin("client-1", pack_request(context.plan, context.state, start=start))
    assert workers.train("client-1", context).delta["w"][0] == 1
    other.thread.join()
    other.worker.close()


@pytest.mark.parametrize(("kind", "error"), [(REFUSED, PolicyError), (FAILED, TrainingFailedError)])
def test_what_goes_wrong_is_told(kind: str, error: type[Exception], context: RoundContext) -> None:
    other = Answering(kind, orders=1)
    with pytest.raises(error, match="client-1 would rather not"):
        TrainingWorkers(seats={"client-1": other.worker}).train("client-1", context)
    other.thread.join()
    other.worker.close()


def test_a_client_that_will_refuse_does_not_train_ahead(make_federation: Callable[..., Federation]) -> None:
    begun: list[str] = []

    class Noting:
        def begin(self, client: str, request: bytes) -> None:
            begun.append(client)

        def train(self, client: str, context: RoundContext) -> Trained:
            raise NotImplementedError

    federation = make_federation()
    client, plan = federation.clients["client-1"], federation.agreed
    request = pack_request(plan, federation.start)
    client.train_ahead(plan, request)
    client.elsewhere = Noting()
    client.train_ahead(plan.model_copy(update={"min_cohort": 1, "cohort": ("client-1",)}), request)
    assert begun == []
    client.train_ahead(plan, request)
    assert begun == ["client-1"]
    client.account.charge(plan, b"stored")
    client.train_ahead(plan, request)
    assert begun == ["client-1"], "what is stored is sent again, not found again"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For every process: sums in another order have other last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Run:
    """A run, what it told, and what it left."""

    def __init__(self, config: Config | None, root: Path, *, listen: Callable[[Event], None] = ignore) -> None:
        with training_run(config, root, resume=config is None, listen=listen) as run:
            self.records: tuple[RoundRecord, ...] = run.progress.records
            self.digest = run.progress.state.digest()
        with dp.Ledger.read(root / "ledger.sqlite") as ledger:
            rows = [(name, charge.release) for name in run.federation.clients for charge in ledger.history(name)]
        self.charges = [(name, release.round, release.attempt) for name, release in rows]
        self.kept = {
            str(path.relative_to(root)): path.read_bytes() for path in sorted(root.glob("ledger.sqlite.personal/*/*/*"))
        }


def children() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children(recursive=True) if "training_worker" in " ".join(child.cmdline())
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("overrides", "files_kept"),
    [
        ({"clients.simulated_dropout": 0.2}, 0),
        ({"privacy.epsilon": "inf", "training.control_variates": True}, 10),
        (
            {
                "aggregation.strategy": "fedask",
                "privacy.epsilon": "inf",
                "training.server_optimizer": "sgd",
                "training.server_learning_rate": 1.0,
            },
            0,
        ),
    ],
    ids=["dropouts", "control variates", "two sums"],
)
def test_two_processes_train_to_the_bit_what_one_does(
    overrides: dict[str, object],
    files_kept: int,
    tiny_config: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job, "run_name", lambda _: "run")  # FedASK's random matrices follow from it
    one = Run(tiny_config(overrides), tmp_path / "one")
    seen: list[int] = []
    two = Run(
        tiny_config(overrides | {"clients.workers": 2}), tmp_path / "two", listen=lambda _: seen.append(len(children()))
    )
    assert max(seen) == 2
    assert children() == [], "they end with the run"
    assert two.digest == one.digest
    assert [record.model_hash for record in two.records] == [record.model_hash for record in one.records]
    assert [record.epsilon_spent for record in two.records] == [record.epsilon_spent for record in one.records]
    assert two.charges == one.charges != []
    assert two.kept == one.kept
    assert len(one.kept) == files_kept, "two rounds of five clients"


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_process_that_is_killed_stops_the_run_which_resumes_to_the_same_adapter(
    tiny_config: Callable[..., Config], tmp_path: Path
) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, ClientTrained) and event.round == 2 and event.position == 1:
            for child in children():
                child.kill()

    config = tiny_config({"clients.workers": 2, "training.rounds": 3})
    with pytest.raises(RunFailedError, match=r"clients\.workers"):
        Run(config, tmp_path / "run", listen=listen)
    assert children() == []
    resumed = Run(None, tmp_path / "run")
    one = Run(tiny_config({"training.rounds": 3}), tmp_path / "one")
    assert resumed.digest == one.digest
    assert resumed.charges == one.charges, "nobody is charged twice"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Lets commands take Ctrl-C: what a shell runs in the background ignores it, and so would its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_nobody_is_left_behind(number: int, tiny_config: Callable[..., Config], tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(dump_config(tiny_config({"clients.workers": 2, "training.rounds": 500})))
    command = (*COMMAND, "run", str(tmp_path / "run.toml"), "--out", str(tmp_path / "run"))
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    group = psutil.Process(process.pid)
    while not (tmp_path / "run" / "rounds.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.1)
    workers = [child for child in group.children(recursive=True) if "training_worker" in " ".join(child.cmdline())]
    assert len(workers) == 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: everybody gets it
    else:
        process.kill()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
    assert process.wait(60) == (130 if number == signal.SIGINT else -signal.SIGKILL)
