"""Notices data that changed under a ledger: charges count only for the examples that they were made for."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from fedpeft_secure.data import LabelledTexts, fingerprint
from fedpeft_secure.errors import DataError
from fedpeft_secure.rundir import to_json, write_atomically


def check_same_data(
    ledger: Path,
    clients: Mapping[str, LabelledTexts],
    groups: Mapping[str, tuple[str, ...]] | None = None,
    *,
    charges: int = 0,
) -> None:
    """Compares who holds what with what the ledger was begun with, and remembers it for a new ledger.

    Without this a client's spent budget could be escaped by another seed, partition or number of clients, under which
    its examples belong to somebody whose budget is untouched.

    Args:
        ledger: path of the ledger; the digest lies beside it, for the owner's eyes only.
        clients: everybody's examples.
        groups: the group of privacy budgets of each of them, where there are any: who changes group would spend the
            budget of another one.
        charges: in the ledger so far; once there are any, a digest must lie beside it.

    Raises:
        DataError: If any client holds other examples than before, or nobody can tell.
    """
    path = ledger.with_name(f"{ledger.name}.data.json")
    if charges and not path.exists():
        raise DataError(
            f"privacy.ledger: {ledger} has charges, and {path.name} is missing beside it, which tells for which data; "
            "copy both, or begin a new ledger for data that were never charged"
        )
    # One digest for all: a digest of a single client's few examples could be guessed.
    together = hashlib.sha256(b"fedpeft-secure/ledger-data/v1\0")
    for name in sorted(clients):
        together.update(name.encode() + b"\0" + fingerprint(clients[name]))
    now = {"data": together.hexdigest()}
    if groups:
        now["groups"] = _assignment(clients, groups)
    before = json.loads(path.read_bytes()) if path.exists() else {}
    if any(before.get(name, digest) != digest for name, digest in now.items()):
        raise DataError(
            f"privacy.ledger: {ledger} has charges for other data: clients, partition, seed, examples or their groups "
            "changed; restore them, or begin a new ledger for data that were never charged"
        )
    if before | now != before:
        write_atomically(path, to_json(before | now), mode=0o600)


def _assignment(clients: Mapping[str, LabelledTexts], groups: Mapping[str, tuple[str, ...]]) -> str:
    """A digest of which example is in which group, whatever their order."""
    together = hashlib.sha256(b"fedpeft-secure/ledger-groups/v2\0")
    for name in sorted(groups):
        texts = clients[name]
        examples = sorted(zip(texts.texts, texts.labels.tolist(), groups[name], strict=True))
        together.update(hashlib.sha256(json.dumps([name, examples]).encode()).digest())
    return together.hexdigest()
