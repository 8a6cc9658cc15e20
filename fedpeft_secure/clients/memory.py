"""What a client has sent so far, kept on its own disk: no restart may make it answer a round or a model twice."""

from pathlib import Path

import secagg
from fedpeft_secure.errors import DataError
from fedpeft_secure.rundir import write_atomically


def memory_file(ledger: Path, client: str) -> Path:
    """Where a simulated client's memory lies: beside the ledger, and so shared by all runs on the same data."""
    return ledger.with_name(f"{ledger.name}.memory") / f"{client}.bin"


def load_memory(path: Path) -> secagg.ClientMemory:
    """The memory at `path`; an empty one where nothing was ever sent.

    Raises:
        DataError: If the file is damaged; going on without it would allow a second answer.
    """
    if not path.exists():
        return secagg.ClientMemory()
    try:
        return secagg.ClientMemory.from_bytes(path.read_bytes())
    except secagg.ProtocolError as error:
        raise DataError(f"{path} is damaged ({error}); restore a backup, or begin a new ledger") from error


def save_memory(path: Path, memory: secagg.ClientMemory) -> None:
    """Stores the memory durably, for the owner's eyes only; what is there already is not written again.

    Raises:
        secagg.RefusedError: If another session has stored something that this one did not know.
    """
    stored = load_memory(path)
    memory.check_follows(stored)
    if memory == stored:
        return
    data = memory.to_bytes()
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomically(path, data, mode=0o600)
