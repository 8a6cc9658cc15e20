"""The ledger: charged before release, over all runs, in one transaction, append-only, one writer."""

import math
import os
import sqlite3
import stat

import pytest
from opacus.accountants import PRVAccountant

import dp
from dp import (
    BudgetExceeded,
    GroupedGaussian,
    Ledger,
    LedgerError,
    NonPrivate,
    PrivacyBudget,
    ReleaseId,
    SampledGaussian,
)
from dp.charges import Charge, charge_of, row_of
from dp.errors import LedgerInUse, LedgerTampered
from dp.ledger_store import connect

EVENT = SampledGaussian(noise_multiplier=1.0, sample_rate=0.15, steps=1)
ONE_STEP = {"noise_multiplier": 1.0, "sample_rate": 0.15, "delta": 1e-5}
BUDGET = PrivacyBudget(epsilon=3.0, delta=1e-5)


def charge(ledger, client="a", number=0, *, run="run", event=EVENT, budget=BUDGET, data=b"bytes", attempt=0, **more):
    release = ReleaseId(run=run, round=number, attempt=attempt)
    return ledger.charge(client=client, release=release, event=event, budget=budget, contribution=data, **more)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def test_spends_compose_over_rounds_and_runs_and_survive_reopening(path):
    with Ledger.open(path) as ledger:
        first = charge(ledger, run="one")
    with Ledger.open(path) as ledger:
        second = charge(ledger, run="two")
        assert ledger.spent("a", delta=1e-5) == second
    expected = dp.epsilon(noise_multiplier=1.0, sample_rate=0.15, steps=2, delta=1e-5)
    assert first.epsilon < second.epsilon == expected
    assert (second.delta, second.unit, second.relation, second.accountant) == (1e-5, "example", "add_remove", "prv")


def test_a_new_engine_each_round_forgets_what_the_ledger_composes(path):
    """As in Flower's Opacus example: the ε that is printed covers the last round only."""
    with Ledger.open(path) as ledger:
        for number in range(6):
            engine = PRVAccountant()
            engine.step(noise_multiplier=1.0, sample_rate=0.15)
            spent = charge(ledger, number=number, budget=PrivacyBudget(epsilon=8.0, delta=1e-5))
    assert engine.get_epsilon(delta=1e-5) < 2.2
    assert spent.epsilon == dp.epsilon(**ONE_STEP, steps=6) > 3.2


def test_refuses_before_overspending_and_stores_nothing(path):
    with Ledger.open(path) as ledger:
        allowed = [k for k in range(1, 100) if dp.epsilon(**ONE_STEP, steps=k) <= 3.0]
        for number in range(len(allowed)):
            charge(ledger, number=number)
        with pytest.raises(BudgetExceeded, match="'a'"):
            charge(ledger, number=len(allowed))
        assert ledger.spent("a", delta=1e-5).epsilon <= 3.0
        assert len(ledger.history("a")) == len(allowed) > 1
        assert ledger.contribution("a", ReleaseId(run="run", round=len(allowed))) is None
        with pytest.raises(BudgetExceeded):
            ledger.check(client="a", event=EVENT, budget=BUDGET)
        charge(ledger, client="b")


def test_stored_bytes_are_sent_again_without_a_charge(path):
    release = ReleaseId(run="run", round=0)
    with Ledger.open(path) as ledger:
        spent = charge(ledger, data=b"\0noised\xff")
    with Ledger.open(path) as ledger:
        assert ledger.contribution("a", release) == b"\0noised\xff"
        assert ledger.contribution("b", release) is None
        assert charge(ledger, data=b"\0noised\xff") == spent
        assert len(ledger.history("a")) == 1
        with pytest.raises(LedgerError, match="already charged"):
            charge(ledger, data=b"other")
        louder = SampledGaussian(noise_multiplier=2.0, sample_rate=0.15, steps=1)
        with pytest.raises(LedgerError, match="already charged"):
            charge(ledger, data=b"\0noised\xff", event=louder)
        again = charge(ledger, data=b"other", attempt=1)
        assert again.epsilon > spent.epsilon


def test_one_writer_many_readers(path):
    with Ledger.open(path) as ledger:
        charge(ledger)
        with pytest.raises(LedgerInUse):
            Ledger.open(path)
        by_another_name = path.with_name("alias.sqlite")
        by_another_name.symlink_to(path)
        with pytest.raises(LedgerInUse):
            Ledger.open(by_another_name)
        with Ledger.read(path) as reader:
            assert reader.clients() == ("a",)
            with pytest.raises(LedgerError, match=r"Ledger\.open"):
                charge(reader, number=1)
    Ledger.open(path).close()


def test_file_is_private(path):
    old = os.umask(0)
    try:
        with Ledger.open(path) as ledger:
            charge(ledger)
            modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in path.parent.iterdir()}
    finally:
        os.umask(old)
    assert set(modes.values()) == {0o600}, modes


def test_sqlite_refuses_updates_and_deletes(path):
    with Ledger.open(path) as ledger:
        charge(ledger)
    connection = sqlite3.connect(path)
    for statement in ("UPDATE charges SET client = 'b'", "DELETE FROM charges"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


def test_non_private_releases_are_recorded(path):
    with Ledger.open(path) as ledger:
        with pytest.raises(BudgetExceeded):
            charge(ledger, event=NonPrivate())
        free = PrivacyBudget(epsilon=math.inf, delta=1e-5)
        assert charge(ledger, event=NonPrivate(), budget=free).epsilon == math.inf
        with pytest.raises(BudgetExceeded):
            charge(ledger, number=1)
    with Ledger.open(path) as ledger:
        assert ledger.history("a")[0].event == NonPrivate()
        assert ledger.history("a")[0].budget == free


def test_units_do_not_mix(path):
    with Ledger.open(path) as ledger:
        charge(ledger)
        with pytest.raises(LedgerError, match="another ledger"):
            charge(ledger, number=1, unit="client")


def test_not_a_ledger(path):
    path.write_text("hello, this is not a database at all, but it is long enough to look like one" * 20)
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger.open(path)
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger.read(path)
    with pytest.raises(LedgerError, match="no ledger"):
        Ledger.read(path.with_name("missing"))


TAMPERINGS = {
    "cheaper event": "UPDATE charges SET charge = replace(charge, 'multiplier\\\":1.0', 'multiplier\\\":9.0')",
    "other client": 'UPDATE charges SET charge = replace(charge, \'"client":"a"\', \'"client":"b"\')',
    "other bytes": "UPDATE charges SET contribution = x'00' WHERE sequence = 1",
    "missing first": "DELETE FROM charges WHERE sequence = 1",
    "missing middle": "DELETE FROM charges WHERE sequence = 2",
    "reordered": "UPDATE charges SET sequence = 10 WHERE sequence = 1",
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_detected(path, name):
    with Ledger.open(path) as ledger:
        for number in range(3):
            charge(ledger, number=number)
        ledger.verify()
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER charges_are_never_updated")
    connection.execute("DROP TRIGGER charges_are_never_deleted")
    changed = connection.execute(TAMPERINGS[name]).rowcount
    connection.commit()
    connection.close()
    assert changed > 0
    with pytest.raises(LedgerTampered):
        Ledger.open(path)


def test_truncation_is_detected_with_an_earlier_head(path):
    with Ledger.open(path) as ledger:
        charge(ledger)
        early = ledger.head()
        charge(ledger, number=1)
        late = ledger.head()
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER charges_are_never_deleted")
    connection.execute("DELETE FROM charges WHERE sequence = 2")
    connection.commit()
    connection.close()
    with Ledger.open(path) as ledger:
        ledger.verify()
        ledger.verify(head=early)
        with pytest.raises(LedgerTampered):
            ledger.verify(head=late)


GROUPED = GroupedGaussian(noise_multiplier=1.0, groups=(("open", 0.15), ("strict", 0.02)), steps=1)
GROUP_BUDGET = PrivacyBudget(epsilon=3.0, delta=1e-5, groups=(("open", 3.0), ("strict", 0.8)))


def test_a_row_without_groups_has_the_text_that_it_always_had():
    """Written by the version before there were groups: the chains of older ledgers must verify for ever."""
    row = (
        '{"accountant":"prv","attempt":1,"client":"a","contribution_bytes":5,"contribution_digest":"00","delta":1e-05,'
        '"epsilon":"inf","event":"{\\"kind\\":\\"SampledGaussian\\",\\"noise_multiplier\\":1.5,'
        '\\"sample_rate\\":0.25,\\"steps\\":3}","relation":"add_remove","round":2,"run":"run","sequence":1,'
        '"unit":"example"}'
    )
    charged = Charge(
        sequence=1,
        client="a",
        release=ReleaseId(run="run", round=2, attempt=1),
        event=SampledGaussian(noise_multiplier=1.5, sample_rate=0.25, steps=3),
        budget=PrivacyBudget(epsilon=math.inf, delta=1e-5),
        unit="example",
        relation="add_remove",
        accountant="prv",
        contribution_bytes=5,
        contribution_digest="00",
    )
    assert row_of(charged) == row
    assert charge_of(row) == charged


def test_one_release_charges_every_group_and_survives_reopening(path):
    with Ledger.open(path) as ledger:
        charge(ledger, event=GROUPED, budget=GROUP_BUDGET)
    with Ledger.read(path) as ledger:
        ledger.verify()
        assert len(ledger.history("a")) == 1
        assert (ledger.history("a")[0].event, ledger.history("a")[0].budget) == (GROUPED, GROUP_BUDGET)
        for group, rate in (*GROUPED.groups, (None, 0.15)):
            expected = dp.epsilon(noise_multiplier=1.0, sample_rate=rate, steps=1, delta=1e-5)
            assert ledger.spent("a", delta=1e-5, group=group).epsilon == expected


def test_the_group_whose_budget_ends_first_ends_it_for_the_release(path):
    tight = PrivacyBudget(epsilon=3.0, delta=1e-5, groups=(("open", 3.0), ("strict", 0.03)))
    with Ledger.open(path) as ledger:
        for number in range(50):
            try:
                charge(ledger, number=number, event=GROUPED, budget=tight)
            except BudgetExceeded as refusal:
                assert str(refusal).startswith("client 'a', group 'strict': ε would reach")  # noqa: PT017
                break
        stored = len(ledger.history("a"))
        assert ledger.spent("a", delta=1e-5, group="strict").epsilon <= 0.03
        one_more = dp.epsilon(noise_multiplier=1.0, sample_rate=0.02, steps=stored + 1, delta=1e-5)
        assert one_more > 0.03
        assert ledger.spent("a", delta=1e-5).epsilon < 3.0


def test_groups_of_another_run_are_counted_at_their_worst(path):
    """An example may have been in any of them."""
    other = GroupedGaussian(noise_multiplier=1.0, groups=(("x", 0.15), ("y", 0.01)), steps=1)
    with Ledger.open(path) as ledger:
        charge(ledger, number=1, event=EVENT)
        charge(ledger, number=2, event=GROUPED)
        charge(ledger, number=3, event=other, budget=PrivacyBudget(epsilon=3.0, delta=1e-5))
        all_three = dp.epsilon(**ONE_STEP, steps=3)
        assert ledger.spent("a", delta=1e-5).epsilon == all_three
        strict = ledger.spent("a", delta=1e-5, group="strict").epsilon
        assert dp.epsilon(**ONE_STEP, steps=2) < strict < all_three


def test_a_contribution_that_changes_under_an_open_ledger_is_not_sent(path):
    with Ledger.open(path) as ledger:
        charge(ledger)
        with sqlite3.connect(path) as behind:
            behind.execute("DROP TRIGGER charges_are_never_updated")
            behind.execute("UPDATE charges SET contribution = ?", (b"other",))
        behind.close()
        with pytest.raises(LedgerTampered, match="contribution of charge 1 was changed"):
            ledger.contribution("a", ReleaseId(run="run", round=0))


def test_a_row_that_vanishes_under_an_open_ledger_is_missed(path):
    with Ledger.open(path) as ledger:
        charge(ledger)
        charge(ledger, number=1)
        with sqlite3.connect(path) as behind:
            behind.execute("DROP TRIGGER charges_are_never_deleted")
            behind.execute("DELETE FROM charges WHERE sequence = 2")
        behind.close()
        with pytest.raises(LedgerTampered, match="does not hold charges that it held before"):
            ledger.verify()


def test_every_commit_is_synced_before_it_is_acknowledged(path):
    """A kill loses nothing anyway; a lost power supply would take the newest charges along."""
    connection = connect(path)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
