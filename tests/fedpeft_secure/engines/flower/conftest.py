"""Nodes of a tiny run: every party with files of its own, and a carrier that needs no network."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import dp
import secagg
from fedpeft_secure.config import Config
from fedpeft_secure.data import load
from fedpeft_secure.engines.flower.engine import Deadlines, FlowerEngine
from fedpeft_secure.engines.flower.holder import open_holder
from fedpeft_secure.engines.flower.node import Node, open_node
from fedpeft_secure.engines.flower.settings import HolderSettings, NodeSettings
from fedpeft_secure.key_holder import make_key_holder
from fedpeft_secure.seeds import Seed

POLICY = {"simulation_noise": True, "trust_server": True, "protocols": ["masked", "plain", "helper"]}


@dataclass
class Lines:
    """A carrier inside the process; `hook(node, message, deliver)` may lose, change or repeat what passes."""

    answerers: dict[int, Callable[[bytes], bytes | None]]
    hook: Callable[[int, bytes, Callable[[bytes], bytes | None]], bytes | None] = lambda node, message, deliver: (
        deliver(message)
    )
    passed: list[tuple[int, bytes]] = field(default_factory=list)

    def nodes(self) -> frozenset[int]:
        return frozenset(self.answerers)

    def exchange(self, messages: Mapping[int, bytes], *, seconds: float) -> dict[int, bytes]:
        found = {}
        for node, message in messages.items():
            self.passed.append((node, message))
            reply = self.hook(node, message, self.answerers[node])
            if reply is not None:
                found[node] = reply
        return found


@dataclass
class Site:
    """All parties of a run out of one machine, with everybody's files below one folder."""

    config: Config
    folder: Path
    server: secagg.Identity
    directory: secagg.KeyDirectory
    nodes: dict[str, Node]
    lines: Lines
    lost: list[tuple[str, str, str]] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)

    def engine(self) -> FlowerEngine:
        return FlowerEngine(
            carrier=self.lines,
            identity=self.server,
            directory=self.directory,
            deadlines=Deadlines(join_seconds=0.1, train_seconds=60, step_seconds=60),
            lost=lambda *what: self.lost.append(what),
        )

    def restart(self, name: str) -> Node:
        """The node's process dies, and another one takes its place."""
        old = self.nodes[name]
        old.ledger.close()
        node = open_node(old.settings, dp.Ledger.open(old.settings.ledger), log=self.logs.append)
        self.nodes[name] = node
        return node


def write_party(
    folder: Path, name: str, policy: Mapping[str, Any], server: secagg.Identity, *, classes: Sequence[str]
) -> NodeSettings:
    """The settings of one node, and its policy."""
    (folder / f"{name}.policy.toml").write_text(tomli_w.dumps(dict(policy)))
    settings = {
        "name": name,
        "identity": f"{name}.key",
        "directory": "directory.bin",
        "server_key": server.public.hex(),
        "policy": f"{name}.policy.toml",
        "ledger": f"{name}.sqlite",
        "data": f"{name}.jsonl",
        "classes": list(classes),
        "socket": f"{name}/worker.sock",
    }
    path = folder / f"{name}.toml"
    path.write_text(tomli_w.dumps(settings))
    return NodeSettings.load(path)


def holder_settings(folder: Path, server: secagg.Identity) -> HolderSettings:
    """The settings of the third party."""
    settings = {
        "identity": "holder/identity.key",
        "directory": "directory.bin",
        "state": "holder",
        "server_key": server.public.hex(),
        "socket": "holder/worker.sock",
    }
    (folder / "holder.toml").write_text(tomli_w.dumps(settings))
    return HolderSettings.load(folder / "holder.toml")


def write_data(folder: Path, config: Config) -> tuple[str, ...]:
    """Every client's examples, as the simulation deals them; the names of their classes."""
    data = load(config.data, clients=config.clients.count, seed=Seed(config.seed))
    for name, texts in zip(config.client_names, data.clients, strict=True):
        rows = [
            json.dumps({"text": text, "label": int(label)})
            for text, label in zip(texts.texts, texts.labels, strict=True)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    return data.classes


@pytest.fixture
def make_site(tiny_config: Callable[..., Config], tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Sets up everybody; `policies` changes the policies of single clients."""
    sites: list[Site] = []

    def make(overrides: Mapping[str, Any] | None = None, policies: Mapping[str, Mapping[str, Any]] = {}) -> Site:
        config = tiny_config({"privacy.noise": "simulation", **(overrides or {})})
        folder = tmp_path / f"site-{len(sites)}"
        folder.mkdir()
        identities = {name: secagg.Identity.generate() for name in config.client_names}
        third = make_key_holder(folder / "holder").public if config.secure_sum.protocol == "helper" else b""
        members = {name: one.public for name, one in identities.items()}
        directory = secagg.KeyDirectory(members=members, key_holder=third)
        (folder / "directory.bin").write_bytes(directory.to_bytes())
        server, nodes, logs = secagg.Identity.generate(), {}, list[str]()
        classes = write_data(folder, config)
        for name, identity in identities.items():
            identity.save(folder / f"{name}.key")
            settings = write_party(folder, name, {**POLICY, **policies.get(name, {})}, server, classes=classes)
            nodes[name] = open_node(settings, dp.Ledger.open(settings.ledger), log=logs.append)
        lines = Lines({})
        site = Site(config, folder, server, directory, nodes, lines, logs=logs)
        for number, name in enumerate(nodes, start=1):
            lines.answerers[number] = lambda message, name=name: site.nodes[name].answer(message)
        if third:
            lines.answerers[99] = open_holder(holder_settings(folder, server), log=logs.append).answer
        sites.append(site)
        return site

    yield make
    for site in sites:
        for node in site.nodes.values():
            node.ledger.close()
