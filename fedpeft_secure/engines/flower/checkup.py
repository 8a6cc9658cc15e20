"""Looks at a node before it serves: its files, its worker, and whether the SuperLink can be reached and trusted."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import dp
from fedpeft_secure.clients.policy_file import PolicyFile
from fedpeft_secure.doctor import Finding
from fedpeft_secure.engines.flower.own_data import read_own_data
from fedpeft_secure.engines.flower.settings import NodeSettings
from fedpeft_secure.errors import FedPeftError, InputError

CONNECT_SECONDS = 10.0


def examine_node(path: Path, *, superlink: str, root_certificates: Path | None) -> tuple[Finding, ...]:
    """What works and what does not; nothing is changed, and nothing secret is shown.

    Args:
        path: of the node's settings.
        superlink: HOST:PORT to connect to; empty for none.
        root_certificates: the authority that signed the SuperLink's certificate.

    Raises:
        InputError: If the settings themselves cannot be read.
    """
    settings = NodeSettings.load(path)
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("identity", lambda: _identity(settings)),
        ("policy", lambda: f"ε ≤ {PolicyFile.load(settings.policy).epsilon_total:g} over all runs"),
        ("data", lambda: _data(settings)),
        ("ledger", lambda: _ledger(settings)),
        ("worker", lambda: _worker(settings)),
        *((("superlink", lambda: _superlink(superlink, root_certificates)),) if superlink else ()),
    )
    return tuple(_finding(name, check) for name, check in checks)


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name=name, value=check())
    except (FedPeftError, dp.PrivacyError, OSError) as error:
        return Finding(name=name, value=" ".join(str(error).split()), good=False)


def _identity(settings: NodeSettings) -> str:
    identity, directory = settings.load_identity(), settings.load_directory()
    if settings.identity.stat().st_mode & 0o077:
        raise InputError(f"{settings.identity} is open to others; chmod 600")
    if directory.members.get(settings.name) != identity.public:
        raise InputError(f"{settings.name} has another key in {settings.directory}; give the newest directory")
    return f"{settings.name}, directory {directory.fingerprint.hex()[:16]} of {len(directory.members)}"


def _data(settings: NodeSettings) -> str:
    return f"{len(read_own_data(settings).texts)} examples of {len(settings.classes)} classes"


def _ledger(settings: NodeSettings) -> str:
    if not settings.ledger.exists():
        return "new: nothing was ever charged"
    with dp.Ledger.read(settings.ledger) as ledger:
        ledger.verify()
        return f"{ledger.head().count} charges, the chain holds"


def _worker(settings: NodeSettings) -> str:
    if settings.socket.stat().st_mode & 0o077 or settings.socket.parent.stat().st_mode & 0o077:
        raise InputError(f"{settings.socket} is open to others; chmod 700 its folder")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(str(settings.socket))
    return "listens"


def _superlink(address: str, root_certificates: Path | None) -> str:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise InputError(f"--superlink {address!r}: give HOST:PORT")
    context = ssl.create_default_context(cafile=root_certificates)
    with (
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return f"{secured.version()}, its certificate is good for {host}"
