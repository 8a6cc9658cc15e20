"""No test of the data package may reach out: an attempt is refused, and fails the test even if the code hides it."""

import ipaddress
import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from fedpeft_secure.data import LabelledTexts


@pytest.fixture(autouse=True)
def outside_attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The attempts so far to resolve or reach another machine; a test that wants some clears the list."""
    attempts: list[str] = []

    def guarded(real: Callable[..., Any], *, host_of: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            host = host_of(*args)
            if not _is_local(host):
                attempts.append(str(host))
                raise OSError(f"the tests have no network, but {host} was wanted")
            return real(*args, **options)

        return call

    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect, host_of=_connected_host))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex, host_of=_connected_host))
    monkeypatch.setattr(socket, "getaddrinfo", guarded(socket.getaddrinfo, host_of=lambda host, *_: host))
    yield attempts
    assert not attempts


@pytest.fixture
def examples() -> LabelledTexts:
    """300 texts that share no words, of three classes in turn."""
    return LabelledTexts(
        texts=tuple(f"alpha{index} beta{index} gamma{index}" for index in range(300)), labels=np.arange(300) % 3
    )


def _connected_host(_: socket.socket, address: Any) -> Any:
    return address[0] if isinstance(address, tuple) else None


def _is_local(host: Any) -> bool:
    if host is None or host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
