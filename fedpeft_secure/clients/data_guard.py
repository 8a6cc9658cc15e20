"""Notices data that changed under a ledger: charges count only for the examples that they were made for."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from fedpeft_secure.data import LabelledTexts, fingerprint
from fedpeft_secure.errors import DataError
from fedpeft_secure.rundir import to_json, write_atomically


def check_same_data(ledger: Path, clients: Mapping[str, LabelledTexts]) -> None:
    """Compares who holds what with what the ledger was begun with, and remembers it for a new ledger.

    Without this a client's spent budget could be escaped by another seed, partition or number of clients, under which
    its examples belong to somebody whose budget is untouched.

    Args:
        ledger: path of the ledger; the digest lies beside it, for the owner's eyes only.
        clients: everybody's examples.

    Raises:
        DataError: If any client holds other examples than before.
    """
    path = ledger.with_name(f"{ledger.name}.data.json")
    # One digest for all: a digest of a single client's few examples could be guessed.
    together = hashlib.sha256(b"fedpeft-secure/ledger-data/v1\0")
    for name in sorted(clients):
        together.update(name.encode() + b"\0" + fingerprint(clients[name]))
    now = {"data": together.hexdigest()}
    if not path.exists():
        write_atomically(path, to_json(now), mode=0o600)
    elif json.loads(path.read_bytes()) != now:
        raise DataError(
            f"privacy.ledger: {ledger} has charges for other data: clients, partition, seed or examples changed; "
            "restore them, or begin a new ledger for data that were never charged"
        )
