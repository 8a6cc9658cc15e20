"""Frames over a Unix socket: 4 bytes of length, then as many bytes. Needs nothing but Python itself."""

import socket
from pathlib import Path

MAX_FRAME_BYTES = 1 << 30


class FrameError(Exception):
    """The other side closed the connection, or sent no frame."""


def forward(path: Path, data: bytes, *, seconds: float) -> bytes:
    """Hands one frame to the worker at `path`, and returns its answer.

    Raises:
        FrameError: If it gives none.
        OSError: If nobody listens there, or not in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        send(connection, data)
        return receive(connection)


def send(connection: socket.socket, data: bytes) -> None:
    """Sends one frame."""
    connection.sendall(len(data).to_bytes(4, "big") + data)


def receive(connection: socket.socket) -> bytes:
    """Receives one frame; memory grows with what arrives, not with what is announced.

    Raises:
        FrameError: If it is too long, or cut short.
    """
    length = int.from_bytes(_exactly(connection, 4), "big")
    if length > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {length} bytes is longer than {MAX_FRAME_BYTES}")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        part = connection.recv(min(1 << 20, length - len(found)))
        if not part:
            raise FrameError("the other side closed the connection without a whole frame")
        found += part
    return bytes(found)
