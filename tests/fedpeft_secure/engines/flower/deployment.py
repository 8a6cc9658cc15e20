"""A real deployment on loopback: SuperLink with TLS and node authentication, SuperNodes, and every party's worker."""

import datetime
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tomli_w
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import secagg
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import dump_config

from .proxy import Proxy, Seen

ROOT = Path(__file__).parents[4]
BIN = Path(sys.executable).parent
MAIN = "from fedpeft_secure.cli import main; main()"


@dataclass
class Deployment:
    """The processes of a federation, all below one folder."""

    folder: Path
    config: Config
    api: int
    server: secagg.Identity
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    sockets: dict[str, Path] = field(default_factory=dict)
    proxies: list[Proxy] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def patience(self) -> float:
        """Seconds after which who is silent is dead: a message starts a process per node, as a registration does."""
        return 15 + self.slowest * len(self.config.client_names)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "FLWR_HOME": str(self.folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
        }

    def start(self, name: str, *command: str, home: str = "flwr") -> None:
        """A process of its own group, so that it dies with its children."""
        log = (self.folder / f"{name}.log").open("ab")
        environment = self.environment | {"FLWR_HOME": str(self.folder / home)}
        self.processes[name] = subprocess.Popen(
            command, env=environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self.processes.pop(name)
        os.killpg(process.pid, number)
        process.wait()

    def watch(self, name: str, seen: Seen) -> None:
        """Puts a proxy between a SuperNode and its worker."""
        path = self.folder / name / "seen.sock"
        key = self.server.public
        self.proxies.append(Proxy(path, self.sockets[name], server_key=key, seen=seen))
        self.sockets[name] = path

    def stop(self) -> None:
        for proxy in self.proxies:
            proxy.close()
        for name in list(self.processes):
            self.kill(name)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def start_superlink(self) -> None:
        pki = self.folder / "pki"
        self.start(
            "superlink",
            str(BIN / "flower-superlink"),
            "--ssl-ca-certfile", str(pki / "ca.pem"),
            "--ssl-certfile", str(pki / "server.pem"),
            "--ssl-keyfile", str(pki / "server.key"),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
            "--database", str(self.folder / "state.db"),
            "--port", str(self.api),
        )  # fmt: skip
        wait_for_port(self.api)

    def start_worker(self, name: str) -> None:
        self.start(f"{name}.worker", sys.executable, "-c", MAIN, "node", str(self.folder / f"{name}.toml"))

    def start_supernode(self, name: str, *, key: str = "", sockets: str = "") -> None:
        self.start(
            name,
            str(BIN / "flower-supernode"),
            "--root-certificates", str(self.folder / "pki" / "ca.pem"),
            "--superlink", f"127.0.0.1:{self.api}",
            "--port", str(free_port()),
            "--auth-supernode-private-key", str(self.folder / "pki" / f"{key or name}.key"),
            "--node-config", f'socket="{sockets or self.sockets[name]}"',
            home=f"flwr-{name}",
        )  # fmt: skip

    def flwr(self, *arguments: str) -> str:
        found = subprocess.run(
            (str(BIN / "flwr"), *arguments), env=self.environment, cwd=self.folder, capture_output=True, timeout=300,
            check=False,
        )  # fmt: skip
        output = found.stdout.decode() + found.stderr.decode()
        assert found.returncode == 0, output
        return output

    def register(self, name: str) -> None:
        started = time.monotonic()
        self.flwr("supernode", "register", str(self.folder / "pki" / f"{name}.pub"), "loopback")
        self.slowest = max(self.slowest, time.monotonic() - started)

    def write_server(self, *, deadline: float) -> None:
        """The server's settings."""
        settings = {
            "identity": "server.key",
            "passphrase_file": "passphrase",
            "directory": "directory.bin",
            "config": "run.toml",
            "out": "run",
            "journal": "journal.jsonl",
            "join_seconds": 240.0,
            "train_seconds": deadline,
            "step_seconds": deadline,
        }
        (self.folder / "server.toml").write_text(tomli_w.dumps(settings))

    def run(self, start: str = "new") -> None:
        self.flwr(
            "run",
            str(self.folder / "app"),
            "loopback",
            "--run-config",
            f'settings="{self.folder}/server.toml" start="{start}"',
        )

    def events(self) -> list[dict[str, object]]:
        """What the server's journal says."""
        path = self.folder / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for(self, event: str, *, seconds: float, **details: object) -> dict[str, object]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for entry in self.events():
                if entry["event"] == event and all(entry.get(key) == value for key, value in details.items()):
                    return entry
                assert entry["event"] != "failed" or event == "failed", entry
            time.sleep(0.2)
        raise AssertionError(f"no {event} {details}:\n{self.log('superlink')[-4000:]}")


def deploy(folder: Path, config: Config, policy: Mapping[str, object], *, classes: Sequence[str]) -> Deployment:
    """Writes everybody's files but the server's settings; starts nothing."""
    server = secagg.Identity.generate()
    deployment = Deployment(folder=folder, config=config, api=free_port(), server=server)
    write_pki(folder / "pki", config.client_names)
    identities = {name: secagg.Identity.generate() for name in config.client_names}
    directory = secagg.KeyDirectory(members={name: one.public for name, one in identities.items()})
    (folder / "directory.bin").write_bytes(directory.to_bytes())
    server.save(folder / "server.key", passphrase=b"correct horse")
    (folder / "passphrase").write_text("correct horse\n")
    for name, identity in identities.items():
        identity.save(folder / f"{name}.key", passphrase=b"correct horse")
        (folder / f"{name}.policy.toml").write_text(tomli_w.dumps(dict(policy)))
        deployment.sockets[name] = folder / name / "worker.sock"
        node = {
            "name": name,
            "identity": f"{name}.key",
            "passphrase_file": "passphrase",
            "directory": "directory.bin",
            "server_key": server.public.hex(),
            "policy": f"{name}.policy.toml",
            "ledger": f"{name}.sqlite",
            "data": f"{name}.jsonl",
            "classes": list(classes),
            "socket": str(deployment.sockets[name]),
        }
        (folder / f"{name}.toml").write_text(tomli_w.dumps(node))
    (folder / "run.toml").write_text(dump_config(config))
    shutil.copytree(ROOT / "examples" / "flower", folder / "app")
    (folder / "flwr").mkdir()
    connection = {"address": f"127.0.0.1:{deployment.api}", "root-certificates": str(folder / "pki" / "ca.pem")}
    (folder / "flwr" / "config.toml").write_text(
        tomli_w.dumps({"superlink": {"default": "loopback", "loopback": connection}})
    )
    return deployment


def write_pki(folder: Path, nodes: tuple[str, ...]) -> None:
    """A certificate authority, the SuperLink's certificate, and the SuperNodes' keys."""
    folder.mkdir()
    authority = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fedpeft test authority")])
    ca = _certificate(name, authority, name, authority, ca=True)
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    server = ec.generate_private_key(ec.SECP384R1())
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = _certificate(own, server, name, authority, ca=False)
    (folder / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        server.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    for node in (*nodes, "stranger"):
        key = ec.generate_private_key(ec.SECP384R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        (folder / f"{node}.key").write_bytes(private)
        (folder / f"{node}.pub").write_bytes(
            key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        )


def _certificate(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, signer: ec.EllipticCurvePrivateKey, *,
    ca: bool,
) -> x509.Certificate:  # fmt: skip
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens at {port}")


def wait_for_file(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.1)
