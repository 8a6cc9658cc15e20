"""The program of a process that trains some simulated clients of a run, for the process that started it.

It is told on its standard input, a socket: first who it trains, then one order after another. It answers on the same
socket, and ends with it: nobody is left behind when the other process dies.
"""

import os
import signal
import socket
import threading
from pathlib import Path
from queue import SimpleQueue

import torch

from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.clients.client import FAILURES
from fedpeft_secure.clients.trainer import Trainer
from fedpeft_secure.config import Config
from fedpeft_secure.engines.flower.forward import FrameError, receive, send
from fedpeft_secure.engines.training_orders import (
    DONE,
    FAILED,
    REFUSED,
    Seat,
    TrainingOrder,
    TrainingReply,
    pack_trained,
)
from fedpeft_secure.errors import FedPeftError, PolicyError
from fedpeft_secure.events import ignore
from fedpeft_secure.plans import unpack_request
from fedpeft_secure.server.federation import load_data
from fedpeft_secure.setting import build_trainer, decide_all, divide, load_setting

Frames = SimpleQueue[bytes]


def main() -> None:
    """Obeys until the other side closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who started us decides
    connection = socket.socket(fileno=os.dup(0))
    orders: Frames = SimpleQueue()
    replies: Frames = SimpleQueue()
    threading.Thread(target=_read, args=(connection, orders), daemon=True).start()
    threading.Thread(target=_write, args=(connection, replies), daemon=True).start()
    trainers = take_seat(Seat.model_validate_json(orders.get()))
    while True:
        replies.put(obey(trainers, TrainingOrder.from_bytes(orders.get())).to_bytes())


def take_seat(seat: Seat) -> dict[str, Trainer]:
    """Loads data and model; the clients of this worker by name, with a backbone that they share."""
    torch.set_num_threads(seat.threads)
    decided = decide_all(Config.model_validate(seat.config), listen=ignore)
    data = load_data(decided.config, listen=ignore)
    setting = load_setting(decided, run=seat.run, classes=data.classes, listen=ignore)
    texts = dict(zip(decided.config.client_names, data.clients, strict=True))
    own = {name: divide(texts[name], decided.config, name)[0] for name in seat.clients}
    path = Path(seat.ledger_path)
    return {name: build_trainer(setting, name, texts=own[name], ledger_path=path) for name in seat.clients}


def obey(trainers: dict[str, Trainer], order: TrainingOrder) -> TrainingReply:
    """Trains one client; what came of it."""
    trainer = trainers[order.client]
    try:
        plan, state = unpack_request(order.request, trainer.backbone.spec, start=trainer.start)
        trained = trainer.train(RoundContext(plan=plan, spec=trainer.backbone.spec, state=state))
    except PolicyError as error:
        return TrainingReply(number=order.number, kind=REFUSED, body=str(error).encode())
    except (FedPeftError, *FAILURES) as error:
        return TrainingReply(number=order.number, kind=FAILED, body=str(error).encode())
    return TrainingReply(number=order.number, kind=DONE, body=pack_trained(trained))


def _read(connection: socket.socket, orders: Frames) -> None:
    """Hands orders over; at the end of the socket the process ends, whatever it is doing."""
    while True:
        try:
            orders.put(receive(connection))
        except (OSError, FrameError):
            os._exit(0)


def _write(connection: socket.socket, replies: Frames) -> None:
    while True:
        try:
            send(connection, replies.get())
        except OSError:
            os._exit(0)


if __name__ == "__main__":
    main()
