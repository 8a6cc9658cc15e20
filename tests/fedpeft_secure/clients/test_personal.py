import stat
from pathlib import Path

import numpy as np
import pytest

from fedpeft_secure.clients.personal import PersonalValues, personal_folder
from fedpeft_secure.errors import PolicyError


def values(number: float) -> dict[str, np.ndarray]:
    return {"head.weight": np.full((2, 3), number, dtype=np.float32), "head.bias": np.zeros(2, dtype=np.float32)}


def first(kept: dict[str, np.ndarray]) -> float:
    return float(kept["head.weight"][0, 0])


@pytest.fixture
def store(tmp_path: Path) -> PersonalValues:
    return PersonalValues(folder=tmp_path / "ledger.personal" / "client-1")


def test_a_client_that_took_part_in_nothing_has_nothing(store: PersonalValues) -> None:
    assert store.before(1) == {}
    assert not store.folder.exists()


def test_a_round_starts_from_what_the_last_one_left(store: PersonalValues) -> None:
    store.keep((1, 0), values(1))
    store.keep((4, 0), values(4))
    kept = store.before(7)
    assert set(kept) == {"head.weight", "head.bias"}
    np.testing.assert_array_equal(kept["head.weight"], values(4)["head.weight"])


def test_a_repeated_attempt_starts_where_the_first_one_did(store: PersonalValues) -> None:
    store.keep((1, 0), values(1))
    store.keep((2, 0), values(2))
    assert first(store.before(2)) == 1
    store.keep((2, 1), values(20))
    assert first(store.before(2)) == 1
    assert first(store.before(3)) == 20


def test_what_was_never_charged_is_forgotten(store: PersonalValues) -> None:
    for attempt, value in (((1, 0), 1), ((2, 0), 2), ((2, 1), 20), ((3, 0), 3)):
        store.keep(attempt, values(value))
    store.keep_only({(1, 0), (2, 0)})
    assert first(store.before(4)) == 2


def test_no_more_is_kept_than_a_repeated_round_needs(store: PersonalValues) -> None:
    for number in range(1, 30):
        store.keep((number, 0), values(number))
        assert len(list(store.folder.iterdir())) <= 2
        if number > 1:
            assert first(store.before(number)) == number - 1


def test_values_that_are_no_block_of_memory_survive(store: PersonalValues) -> None:
    transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
    store.keep((1, 0), {"a": transposed})
    np.testing.assert_array_equal(store.before(2)["a"], transposed)


def test_nobody_else_may_read_them(store: PersonalValues) -> None:
    store.keep((1, 0), values(1))
    (file,) = store.folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_damaged_values_are_no_fresh_start(store: PersonalValues) -> None:
    store.keep((1, 0), values(1))
    (file,) = store.folder.iterdir()
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(PolicyError, match=r"personal values are damaged; restore the file"):
        store.before(2)


def test_what_an_earlier_version_kept_is_no_fresh_start(store: PersonalValues) -> None:
    store.keep((1, 0), values(1))
    (file,) = store.folder.iterdir()
    file.rename(store.folder / "round-000001.safetensors")
    with pytest.raises(PolicyError, match=r"round-000001\.safetensors: an earlier version kept it; begin a new run"):
        store.before(2)


def test_other_files_in_the_folder_are_left_alone(store: PersonalValues) -> None:
    store.keep((1, 0), values(1))
    (store.folder / "note.txt").write_text("mine")
    for number in range(2, 6):
        store.keep((number, 0), values(number))
    assert (store.folder / "note.txt").read_text() == "mine"


def test_simulated_clients_have_a_folder_each_beside_the_ledger(tmp_path: Path) -> None:
    ledger, clients, runs = tmp_path / "ledger.sqlite", ("client-1", "client-2"), ("run", "other")
    folders = {personal_folder(ledger, run=run, client=client) for client in clients for run in runs}
    assert len(folders) == 4
    assert all(folder.parent.parent == tmp_path / "ledger.sqlite.personal" for folder in folders)
