from pathlib import Path

import pytest

import secagg
from fedpeft_secure.clients.memory import load_memory, memory_file, save_memory
from fedpeft_secure.errors import DataError

MEMORY = secagg.ClientMemory(last_survivors=("client-1", "client-2"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return memory_file(tmp_path / "ledger.sqlite", "client-1")


def test_a_client_that_never_sent_remembers_nothing(path: Path) -> None:
    assert load_memory(path) == secagg.ClientMemory()
    assert not path.parent.exists()


def test_what_was_saved_is_loaded(path: Path) -> None:
    save_memory(path, MEMORY)
    assert load_memory(path) == MEMORY
    save_memory(path, secagg.ClientMemory())
    assert load_memory(path) == secagg.ClientMemory()


def test_clients_and_ledgers_have_their_own(path: Path, tmp_path: Path) -> None:
    save_memory(path, MEMORY)
    assert load_memory(memory_file(tmp_path / "ledger.sqlite", "client-2")) == secagg.ClientMemory()
    assert load_memory(memory_file(tmp_path / "other.sqlite", "client-1")) == secagg.ClientMemory()


def test_only_the_owner_reads_it(path: Path) -> None:
    save_memory(path, MEMORY)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_same_memory_is_not_written_again(path: Path) -> None:
    save_memory(path, MEMORY)
    before = path.stat().st_ino
    save_memory(path, MEMORY)
    assert path.stat().st_ino == before


def test_a_session_that_did_not_know_what_is_stored_stores_nothing(path: Path) -> None:
    """Two sessions side by side would otherwise each send, and the second would forget the first."""
    plan = secagg.PlainSum().plan(clients=("client-1",), dim=1)
    one, two = (
        secagg.ClientMemory().with_upload(plan, name="client-1", contribution=bytes(32), payload=bytes([i]) * 32)
        for i in range(2)
    )
    save_memory(path, one)
    with pytest.raises(secagg.RefusedError, match="another session has sent something"):
        save_memory(path, two)
    assert load_memory(path) == one


@pytest.mark.parametrize("damage", [b"", b"FSR\x01", b"nonsense"])
def test_a_damaged_memory_is_never_taken_for_an_empty_one(damage: bytes, path: Path) -> None:
    save_memory(path, MEMORY)
    path.write_bytes(damage)
    with pytest.raises(DataError, match=r"client-1\.bin is damaged .*; restore a backup, or begin a new ledger"):
        load_memory(path)
