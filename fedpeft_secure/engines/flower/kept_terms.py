"""The terms on which a node joined each run: a run keeps them, whatever its server sends later."""

import hashlib
import json
from pathlib import Path

from fedpeft_secure.engines.flower.terms import Terms
from fedpeft_secure.errors import DataError, PolicyError
from fedpeft_secure.rundir import to_json, write_atomically


def keep_terms(ledger: Path, terms: Terms, *, run: str, client: str) -> None:
    """Remembers the terms of a new run, and holds a known one to its own.

    Guarantee: whatever is compared with what was agreed (`fedpeft_secure.clients.policy`) is compared with the first
        terms of the run, also after the node was restarted.
    Does not cover: another run, which the owner's policy and the ledger judge anew; the version of the software and
        the key directory, which the node pins itself, may change when a run is taken up again.

    Args:
        ledger: the node's; the digests lie beside it.
        terms: that the server sends now.
        run, client: the run's name, and the node's.

    Raises:
        PolicyError: If the run had other terms.
        DataError: If the digests cannot be read.
    """
    path = ledger.with_name(f"{ledger.name}.terms.json")
    try:
        kept: dict[str, str] = json.loads(path.read_bytes()) if path.exists() else {}
    except ValueError:
        raise DataError(f"{path} is damaged; restore a backup") from None
    digest = _digest(terms)
    if kept.get(run, digest) != digest:
        raise PolicyError(f"{client} refuses the run: it joined run {run!r} on other terms; start a new run")
    if run not in kept:
        write_atomically(path, to_json(kept | {run: digest}), mode=0o600)


def _digest(terms: Terms) -> str:
    agreed = terms.model_dump(exclude={"version", "directory"})
    return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()
