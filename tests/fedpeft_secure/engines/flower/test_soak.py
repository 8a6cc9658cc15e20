"""A hundred rounds in which nodes vanish and are restarted, and the server too, at random."""

import gc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from fedpeft_secure.engines.flower.orders import JOIN, STEP, TRAIN, Answer, Order
from fedpeft_secure.events import ignore
from fedpeft_secure.server.job import training_run

from .conftest import Site

ROUNDS = 100
MIB = 2**20


class Killed(BaseException):
    """The server dies."""


@pytest.mark.slow
def test_a_hundred_rounds_leak_nothing_and_lose_no_charge(make_site: Callable[..., Site], tmp_path: Path) -> None:
    site = make_site(
        {
            "training.rounds": ROUNDS,
            "training.evaluate_every": ROUNDS,
            "secure_sum.server": "curious",
            "privacy.epsilon": 50.0,
            "data.synthetic.examples": 100,
        },
        policies={f"client-{index}": {"epsilon_per_run": 50.0, "epsilon_total": 50.0} for index in range(1, 6)},
    )
    rng, process = np.random.default_rng(0), psutil.Process()
    charged: Counter[str] = Counter()
    samples: list[tuple[int, int]] = []
    faults: Counter[str] = Counter()
    gone: set[int] = set()

    def hook(node: int, message: bytes, deliver: Callable[[bytes], bytes | None]) -> bytes | None:
        order, name = Order.opened(message, server_key=site.server.public), f"client-{node}"
        if order.kind in (JOIN, TRAIN):
            gone.discard(node)
        if order.kind == TRAIN and node == 1:
            gc.collect()
            samples.append((process.memory_info().rss, process.num_fds()))
        if node in gone:
            return None
        draw = rng.random()
        if order.kind == STEP and draw < 0.01:
            faults["server"] += 1
            raise Killed
        if order.kind != JOIN and draw < 0.02 and not gone:
            faults["vanished"] += 1
            gone.add(node)
            return None
        if draw < 0.03:
            faults["restarted"] += 1
            site.restart(name)
        reply = deliver(message)
        if reply is not None and order.kind == TRAIN:
            answer = Answer.opened(reply, order=message, directory=site.directory)
            charged[name] += answer.kind == "done"
        return reply

    site.lines.hook = hook
    resume = False
    while True:
        try:
            with training_run(
                None if resume else site.config, tmp_path / "run", resume=resume, listen=ignore, engine=site.engine()
            ) as run:
                records = run.progress.records
            break
        except Killed:
            resume = True
    assert len(records) == ROUNDS
    assert min(faults.values()) >= 5, faults
    finished = sum(not record.failure for record in records)
    assert finished >= ROUNDS // 2
    for name, node in site.nodes.items():
        history = node.ledger.history(name)
        assert len(history) == charged[name], "every training that was answered is charged, once"
        assert len({(charge.release.round, charge.release.attempt) for charge in history}) == len(history)
        node.ledger.verify()
        assert records[-1].epsilon_spent[name] >= node.ledger.spent(name, delta=1e-5, accountant="rdp").epsilon
    early, late = samples[len(samples) // 4], samples[-1]
    assert late[1] <= early[1] + 8, "file handles"
    assert late[0] - early[0] < 150 * MIB, "memory"
