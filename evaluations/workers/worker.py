"""A worker process: trains one cell after another, as its standard input says, and dies with the process that asked.

It is a process of its own so that a cell which runs out of memory or crashes takes nothing else with it.
"""

import os
import sys
import threading
import tomllib
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import TextIO

import dp
import secagg
from attacks.errors import AttackError
from attacks.suite import run_attacks
from evaluations.training import measured_run
from evaluations.workers.messages import Order, Report, read_orders
from fedpeft_secure.clients.backbone import new_store
from fedpeft_secure.clients.lower_layers import ActivationStore
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.errors import FedPeftError
from fedpeft_secure.events import Event, RoundFinished

EXPECTED = (FedPeftError, dp.PrivacyError, secagg.ProtocolError, AttackError)
"""Failures that a line explains."""


def work(orders: "SimpleQueue[Order]", answers: TextIO) -> None:
    """Trains what is ordered, for ever.

    Cells of one seed, which have the same texts in the same hands, share what frozen lower layers make of them.
    """
    store: ActivationStore | None = None
    seed = -1
    while True:
        order = orders.get()
        config = parse_config(tomllib.loads(order.config))
        if store is None or config.seed != seed:
            store, seed = new_store(config), config.seed
        _tell(answers, trained(config, Path(order.folder), store, answers))


def trained(config: Config, folder: Path, store: ActivationStore, answers: TextIO) -> Report:
    """Trains one cell; how it ended, whatever happened."""

    def listen(event: Event) -> None:
        if isinstance(event, RoundFinished):
            _tell(answers, Report(kind="round", round=event.record.round, rounds=event.rounds))

    try:
        measured_run(config, folder, attack=run_attacks, store=store, listen=listen)
    except EXPECTED as error:
        return Report(kind="failed", text=" ".join(str(error).split()))
    except Exception as error:  # a cell's mistake must not end the sweep; the log has all of it
        traceback.print_exc()
        return Report(kind="failed", text=f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")
    return Report(kind="done")


def _tell(answers: TextIO, report: Report) -> None:
    answers.write(report.model_dump_json() + "\n")
    answers.flush()


def main() -> None:
    """Entry point of `python -m evaluations.workers.worker`."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    orders: SimpleQueue[Order] = SimpleQueue()
    threading.Thread(target=read_orders, args=(sys.stdin, orders), daemon=True).start()
    work(orders, answers)


if __name__ == "__main__":
    main()
