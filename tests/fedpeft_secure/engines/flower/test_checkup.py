import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedpeft_secure.doctor import Finding
from fedpeft_secure.engines.flower.checkup import examine_node
from fedpeft_secure.errors import InputError

from .conftest import Site
from .deployment import write_pki

MakeSite = Callable[..., Site]


def findings(path: Path, *, superlink: str = "", root_certificates: Path | None = None) -> dict[str, Finding]:
    return {one.name: one for one in examine_node(path, superlink=superlink, root_certificates=root_certificates)}


@pytest.fixture
def own_files(make_site: MakeSite) -> Path:
    """The settings of a node whose worker does not run, with a key that only its owner can read."""
    return make_site().folder / "client-1.toml"


def test_a_node_that_is_ready_but_for_its_worker(own_files: Path) -> None:
    found = findings(own_files)
    assert {name: one.good for name, one in found.items()} == {
        "identity": True,
        "policy": True,
        "data": True,
        "ledger": True,
        "worker": False,
    }
    assert found["ledger"].value == "0 charges, the chain holds"
    assert "No such file" in found["worker"].value


def test_what_is_wrong_is_said_beside_what_is_right(own_files: Path) -> None:
    folder = own_files.parent
    (folder / "client-1.key").chmod(0o644)
    (folder / "client-1.policy.toml").write_text("min_cohort = 0")
    (folder / "client-1.jsonl").write_text('{"words": "a"}\n')
    found = findings(own_files)
    assert "is open to others; chmod 600" in found["identity"].value
    assert "min_cohort" in found["policy"].value
    assert "text = 'text' is no column" in found["data"].value
    assert [name for name, one in found.items() if one.good] == ["ledger"]


def test_somebody_elses_key_is_found_out(own_files: Path) -> None:
    folder = own_files.parent
    (folder / "client-1.key").write_bytes((folder / "client-2.key").read_bytes())
    assert "client-1 has another key" in findings(own_files)["identity"].value


@pytest.fixture
def superlink(tmp_path: Path) -> Iterator[str]:
    """Something that speaks TLS with a certificate of the test's authority."""
    write_pki(tmp_path / "pki", ())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pki" / "server.pem", tmp_path / "pki" / "server.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    continue

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_the_superlink_must_be_reached_and_certified(own_files: Path, superlink: str, tmp_path: Path) -> None:
    ca = tmp_path / "pki" / "ca.pem"
    assert "its certificate is good for 127.0.0.1" in (
        findings(own_files, superlink=superlink, root_certificates=ca)["superlink"].value
    )
    assert "CERTIFICATE_VERIFY_FAILED" in findings(own_files, superlink=superlink)["superlink"].value
    assert "give HOST:PORT" in findings(own_files, superlink="nowhere")["superlink"].value


def test_settings_that_cannot_be_read_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give an existing TOML file"):
        examine_node(tmp_path / "none.toml", superlink="", root_certificates=None)
