"""The ledger's file: one append-only SQLite table, one writer, write-ahead log synced at every commit."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dp.charges import Key, Row
from dp.errors import LedgerError, LedgerInUse

_SCHEMA = """
CREATE TABLE charges (
    sequence INTEGER PRIMARY KEY,
    client TEXT NOT NULL,
    run TEXT NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    charge TEXT NOT NULL,
    contribution BLOB NOT NULL,
    chain BLOB NOT NULL,
    UNIQUE (client, run, round, attempt)
);
CREATE TRIGGER charges_are_never_updated BEFORE UPDATE ON charges
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER charges_are_never_deleted BEFORE DELETE ON charges
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
PRAGMA application_id = 1178420816;
PRAGMA user_version = 1;
"""
_APPLICATION_ID = 1178420816  # "FP-L" of fedpeft ledgers
_VERSION = 1
_BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the chain: how many charges, and the hash over all of them."""

    count: int
    digest: bytes

    def next(self, row: Row) -> "Head":
        """Returns the head after `row`."""
        digest = hashlib.sha256(b"fedpeft-secure/ledger/v1\0" + self.digest + row.encode()).digest()
        return Head(count=self.count + 1, digest=digest)


def acquire_writer_lock(path: Path) -> sqlite3.Connection:
    """Takes the writer's lock beside `path`; it dies with the process, so that no stale lock can remain.

    Raises: LedgerInUse; LedgerError.
    """
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _touch_private(lock_path)
        lock = sqlite3.connect(lock_path, timeout=0, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(
            f"cannot write beside the ledger {path}: {error}; choose a writable privacy.ledger"
        ) from error
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        raise LedgerInUse(f"the ledger {path} has another writer; wait for that run, or use another ledger") from error
    return lock


def connect(path: Path) -> sqlite3.Connection:
    """Opens or creates the file at `path` for its writer, mode 0600.

    Every commit is synced (one fsync), so that neither a kill nor a lost power supply loses a charge. After a kill the
    last charges lie in the file ending in -wal until the next opening: copy both.

    Raises: LedgerError.
    """
    try:
        _touch_private(path)
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(f"cannot open the ledger {path}: {error}; choose a writable privacy.ledger") from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            connection.executescript("BEGIN EXCLUSIVE;" + _SCHEMA + "COMMIT;")
        _require_ledger(connection, path)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise LedgerError(f"{path} is not a ledger: {error}; choose another privacy.ledger") from error
        raise
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Opens an existing ledger for reading.

    Raises: LedgerError.
    """
    if not path.is_file():
        raise LedgerError(f"there is no ledger at {path}; give the ledger.sqlite of a run")
    try:
        uri = path.resolve().as_uri() + "?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False)
        _require_ledger(connection, path)
    except sqlite3.Error as error:
        raise LedgerError(f"{path} is not a ledger: {error}; give the ledger.sqlite of a run") from error
    return connection


def insert(connection: sqlite3.Connection, head: Head, key: Key, row: Row, contribution: bytes) -> Head:
    """Commits one charge with its contribution and returns the new head.

    Raises: LedgerError, with nothing stored.
    """
    following = head.next(row)
    try:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (following.count, *key, row, contribution, following.digest),
            )
    except sqlite3.Error as error:
        raise LedgerError(f"the charge could not be stored: {error}; nothing may be sent") from error
    return following


def read_rows(connection: sqlite3.Connection) -> Iterator[tuple[Head, Row, bytes]]:
    """Yields (the head that was stored, the charge, its contribution) in order."""
    try:
        query = "SELECT sequence, chain, charge, contribution FROM charges ORDER BY sequence"
        for sequence, chain, row, contribution in connection.execute(query):
            yield Head(count=sequence, digest=chain), row, contribution
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger cannot be read: {error}; restore a backup") from error


def _require_ledger(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if (application, version) != (_APPLICATION_ID, _VERSION):
        connection.close()
        raise LedgerError(f"{path} is not a ledger of this version; choose another privacy.ledger")


def _touch_private(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)
