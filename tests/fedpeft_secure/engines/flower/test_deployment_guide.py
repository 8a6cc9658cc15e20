"""What docs/deployment.md and the compose file tell people to type, typed."""

import re
import shlex
import shutil
import ssl
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from typer.main import get_command

from fedpeft_secure.cli import app

from .deployment import ROOT

GUIDE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
COMPOSE = ROOT / "examples" / "flower" / "compose.yaml"


def commands(word: str) -> str:
    """The guide's block of commands that has `word` in it."""
    blocks: list[str] = re.findall(r"^ *```bash\n(.*?)^ *```$", GUIDE, flags=re.MULTILINE | re.DOTALL)
    [block] = [block for block in blocks if word in block]
    return textwrap.dedent(block)


def test_the_certificates_of_the_guide_are_good_for_the_strictest_client(tmp_path: Path) -> None:
    if shutil.which("openssl") is None or shutil.which("bash") is None:
        pytest.skip("no openssl or bash here")
    subprocess.run(("bash", "-ec", commands("openssl req")), cwd=tmp_path, check=True, capture_output=True, timeout=60)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls.pem", tmp_path / "tls.key")
    client = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    for name in ("superlink.example.org", "127.0.0.1"):
        assert shake_hands(client, server, name) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(client, server, "elsewhere.example.org")


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> str | None:
    """A handshake without a network; the version that both speak then."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (here, there, here, there):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return here.version()


def test_the_node_key_of_the_guide_is_one_that_flower_takes(tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen here")
    [line] = re.findall(r"`(ssh-keygen [^`]*)`", GUIDE)
    subprocess.run(shlex.split(line), cwd=tmp_path, check=True, capture_output=True, timeout=60)
    private = load_ssh_private_key((tmp_path / "node.key").read_bytes(), password=None)
    public = load_ssh_public_key((tmp_path / "node.key.pub").read_bytes())
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert private.public_key() == public
    assert public.curve.name == "secp384r1"


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))
    return found


def test_every_service_of_the_compose_file_has_a_worker_a_node_and_volumes_that_exist() -> None:
    services, volumes = compose()["services"], compose()["volumes"]
    named = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    assert {name for name in named if not name.startswith("./")} == set(volumes)
    for number in range(1, 6):
        worker, node = services[f"worker-{number}"], services[f"supernode-{number}"]
        assert worker["network_mode"] == "none"
        assert worker["command"] == f"fedpeft node /files/client-{number}.toml"
        assert f"socket-{number}:/run/fedpeft" in worker["volumes"]
        assert f"socket-{number}:/run/fedpeft" in node["volumes"]
        assert 'socket="/run/fedpeft/own/worker.sock"' in shlex.split(node["command"])
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


def test_every_command_of_ours_in_the_guide_exists() -> None:
    group = get_command(app)
    assert isinstance(group, click.Group)
    typed = set(re.findall(r"`?fedpeft ([a-z][a-z-]+)", GUIDE))
    assert {"keys", "key-directory", "node", "doctor"} <= typed <= set(group.commands)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["flower-superlink", "flower-supernode"])
def test_flower_knows_every_option_that_it_is_given(program: str) -> None:
    pytest.importorskip("flwr")
    written = [service["command"] for service in compose()["services"].values()]
    written += commands(program).replace("\\\n", " ").splitlines()
    given = [shlex.split(line) for line in written if line.startswith(program)]
    assert len(given) == {"flower-superlink": 2, "flower-supernode": 6}[program]
    path = Path(sys.executable).with_name(program)
    told = subprocess.run((path, "--help"), check=True, capture_output=True, timeout=300).stdout.decode()
    known = set(re.findall(r"--[a-z][a-z0-9-]*", told))
    for words in given:
        assert {word for word in words if word.startswith("--")} <= known
