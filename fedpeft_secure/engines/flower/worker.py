"""A party's worker process: it answers one frame after another on a Unix socket that only its owner can open."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from fedpeft_secure.engines.flower.forward import FrameError, receive, send
from fedpeft_secure.errors import InputError

Obey = Callable[[bytes], bytes | None]
FRAME_SECONDS = 60.0
"""For one frame to pass over the socket: a peer that says nothing must not keep others out."""


def serve(path: Path, obey: Obey) -> None:
    """Answers until the process is told to stop.

    Guarantee: the socket's folder is the owner's alone (0700), the socket too (0600); a frame is a length and bytes,
        never more than a fixed size, and nothing but `obey` looks inside.

    Args:
        path: of the socket; one that is left over is replaced.
        obey: what to say to a frame; None closes the connection without a word.

    Raises:
        InputError: If the folder is open to others, or the socket cannot be made.
    """
    listener = _listen(path)
    signal.signal(signal.SIGTERM, _stop)
    try:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(FRAME_SECONDS)
                with suppress(OSError, FrameError):
                    answer = obey(receive(connection))
                    if answer is not None:
                        send(connection, answer)
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077 or folder.stat().st_uid != os.getuid():
            raise InputError(f"socket: {folder} is open to others; `chmod 700` a folder of this user's own")
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(8)
    except OSError as error:
        raise InputError(f"socket {path}: {error.strerror or error}; give a shorter path that can be made") from None
    return listener


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit(0)
