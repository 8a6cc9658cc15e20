import json
from pathlib import Path

import numpy as np
import pytest

from fedpeft_secure.clients.data_guard import check_same_data
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.errors import DataError


def texts(*words: str) -> LabelledTexts:
    return LabelledTexts(texts=words, labels=np.arange(len(words)) % 2)


HELD = {"client-1": texts("soup", "view"), "client-2": texts("battery")}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    check_same_data(tmp_path / "ledger.sqlite", HELD)
    return tmp_path / "ledger.sqlite"


def test_the_same_data_pass_again_and_again(ledger: Path) -> None:
    for _ in range(2):
        check_same_data(ledger, HELD)


@pytest.mark.parametrize(
    "held",
    [
        {**HELD, "client-2": texts("batteries")},
        {**HELD, "client-2": texts("battery", "more")},
        {**HELD, "client-3": texts("new")},
        {"client-1": HELD["client-1"]},
        {"client-1": HELD["client-2"], "client-2": HELD["client-1"]},
        {**HELD, "client-1": LabelledTexts(texts=("soup", "view"), labels=np.array([1, 1]))},
    ],
)
def test_any_other_distribution_of_the_data_is_refused(held: dict[str, LabelledTexts], ledger: Path) -> None:
    with pytest.raises(
        DataError, match=r"privacy\.ledger: .*ledger\.sqlite has charges for other data: .* begin a new"
    ):
        check_same_data(ledger, held)


def test_the_order_of_clients_and_examples_does_not_matter(ledger: Path) -> None:
    first = LabelledTexts(texts=("view", "soup"), labels=np.array([1, 0]))
    check_same_data(ledger, {"client-2": HELD["client-2"], "client-1": first})


def test_the_digest_is_for_the_owners_eyes_and_tells_no_text(ledger: Path) -> None:
    path = ledger.with_name("ledger.sqlite.data.json")
    assert path.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(path.read_text())) == {"data"}
    assert "soup" not in path.read_text()


def test_other_ledgers_are_independent(ledger: Path) -> None:
    check_same_data(ledger.with_name("other.sqlite"), {"client-1": texts("new")})


GROUPS = {"client-1": ("strict", "open"), "client-2": ("open",)}


def test_groups_may_be_given_to_data_that_had_none_and_stay(ledger: Path) -> None:
    check_same_data(ledger, HELD, GROUPS)
    check_same_data(ledger, HELD, GROUPS)
    check_same_data(ledger, HELD)


@pytest.mark.parametrize("changed", [{"client-1": ("open", "strict")}, {"client-1": ("open", "open")}])
def test_who_changes_group_is_noticed(changed: dict[str, tuple[str, ...]], ledger: Path) -> None:
    check_same_data(ledger, HELD, GROUPS)
    with pytest.raises(DataError, match="or their groups changed"):
        check_same_data(ledger, HELD, GROUPS | changed)


def test_equal_texts_with_different_labels_do_not_change_places(ledger: Path) -> None:
    twins = {"client-1": LabelledTexts(texts=("soup", "soup"), labels=np.array([0, 1]))}
    path = ledger.with_name("twins.sqlite")
    check_same_data(path, twins, {"client-1": ("strict", "open")})
    with pytest.raises(DataError, match="or their groups changed"):
        check_same_data(path, twins, {"client-1": ("open", "strict")})


def test_charges_without_a_digest_are_refused(ledger: Path) -> None:
    check_same_data(ledger, HELD, charges=3)
    ledger.with_name("ledger.sqlite.data.json").unlink()
    with pytest.raises(DataError, match=r"ledger\.sqlite\.data\.json is missing .* copy both"):
        check_same_data(ledger, HELD, charges=3)
    check_same_data(ledger, HELD)
