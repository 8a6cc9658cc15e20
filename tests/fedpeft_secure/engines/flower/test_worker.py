import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedpeft_secure.engines.flower.forward import MAX_FRAME_BYTES, FrameError, forward
from fedpeft_secure.engines.flower.worker import serve
from fedpeft_secure.errors import InputError

ECHO = """
import sys
from pathlib import Path
from fedpeft_secure.engines.flower.worker import serve
serve(Path(sys.argv[1]), lambda data: None if data == b"silence" else b"heard " + data)
"""


@pytest.fixture(scope="module")
def echo() -> Iterator[Path]:
    """A worker that repeats what it hears, unless it is told to be silent."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own" / "worker.sock"
        process = subprocess.Popen((sys.executable, "-c", ECHO, str(path)))
        deadline = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield path
        process.terminate()
        assert process.wait(20) == 0
        assert not path.exists(), "a worker that stops takes its socket along"


def test_frames_come_back(echo: Path) -> None:
    for data in (b"", b"hello", os.urandom(3_000_000)):
        assert forward(echo, data, seconds=30) == b"heard " + data


def test_no_answer_is_an_error_at_once(echo: Path) -> None:
    with pytest.raises(FrameError, match="closed the connection"):
        forward(echo, b"silence", seconds=30)


def test_only_the_owner_may_open_the_socket(echo: Path) -> None:
    assert echo.stat().st_mode & 0o777 == 0o600
    assert echo.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("sent", [b"", b"\0\0", (MAX_FRAME_BYTES + 1).to_bytes(4, "big"), b"\0\0\1\0short"])
def test_what_is_no_frame_does_not_stop_the_worker(sent: bytes, echo: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(echo))
        connection.sendall(sent)
    assert forward(echo, b"still there", seconds=30) == b"heard still there"


def test_a_folder_that_others_can_open_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(InputError, match="is open to others"):
        serve(tmp_path / "open" / "worker.sock", lambda data: data)


def test_nobody_listening_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        forward(tmp_path / "nobody.sock", b"", seconds=1)
