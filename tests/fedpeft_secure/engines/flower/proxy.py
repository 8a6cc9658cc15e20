"""Stands between a SuperNode and its worker, sees what passes, and may do something at that very moment."""

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from fedpeft_secure.engines.flower.forward import FrameError, forward, receive, send
from fedpeft_secure.engines.flower.orders import STEP, Order, unbundle

Seen = Callable[[str], None]
"""Told the phase of a message that is about to reach the worker."""


class Proxy:
    """Listens at `path` and hands everything to the worker at `behind`."""

    def __init__(self, path: Path, behind: Path, *, server_key: bytes, seen: Seen) -> None:
        self._behind, self._server_key, self._seen = behind, server_key, seen
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError, FrameError):
                    data = receive(connection)
                    self._seen(phase_of(data, self._server_key))
                    send(connection, forward(self._behind, data, seconds=300))


def phase_of(data: bytes, server_key: bytes) -> str:
    """The phase of the secure sum that an order asks for, or its kind."""
    order = Order.opened(data, server_key=server_key)
    return unbundle(order.body)[0].phase if order.kind == STEP else order.kind
