from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import dp
from fedpeft_secure.result import LedgerHead
from fedpeft_secure.server.ledger_heads import check_ledger, ledger_head


@dataclass(frozen=True)
class Finished:
    """A record of which only the ledger's head matters here."""

    ledger: LedgerHead


@dataclass(frozen=True)
class Standing:
    """A run's progress, as far as the check looks at it."""

    records: tuple[Finished, ...]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[dp.Ledger]:
    with dp.Ledger.open(tmp_path / "ledger.sqlite") as opened:
        yield opened


def charge(ledger: dp.Ledger, number: int) -> LedgerHead:
    ledger.charge(
        client="client-1",
        release=dp.ReleaseId(run="run", round=number),
        event=dp.SampledGaussian(noise_multiplier=5.0, sample_rate=0.1, steps=1),
        budget=dp.PrivacyBudget(epsilon=8.0, delta=1e-5),
        contribution=bytes([number]),
        accountant="rdp",
    )
    return ledger_head(ledger)


def test_the_head_counts_charges_and_moves_with_each(ledger: dp.Ledger) -> None:
    heads = [ledger_head(ledger), charge(ledger, 1), charge(ledger, 2)]
    assert [head.charges for head in heads] == [0, 1, 2]
    assert len({head.digest for head in heads}) == 3
    assert all(len(bytes.fromhex(head.digest)) == 32 for head in heads)


def test_a_run_goes_on_with_a_ledger_that_grew(ledger: dp.Ledger) -> None:
    first = charge(ledger, 1)
    charge(ledger, 2)
    check_ledger(ledger, Standing(records=(Finished(first),)))


def test_a_run_that_finished_no_round_has_nothing_to_compare(ledger: dp.Ledger) -> None:
    check_ledger(ledger, Standing(records=()))


@pytest.mark.parametrize("recorded", [(1, "ab" * 32), (7, "00" * 32)], ids=["rewritten", "cut off"])
def test_a_ledger_without_the_recorded_head_is_refused(recorded: tuple[int, str], ledger: dp.Ledger) -> None:
    charge(ledger, 1)
    standing = Standing(records=(Finished(LedgerHead(charges=recorded[0], digest=recorded[1])),))
    with pytest.raises(dp.LedgerError, match="does not hold charges that it held before"):
        check_ledger(ledger, standing)


def test_only_the_last_round_counts(ledger: dp.Ledger) -> None:
    standing = Standing(records=(Finished(LedgerHead(charges=7, digest="00" * 32)), Finished(charge(ledger, 1))))
    check_ledger(ledger, standing)
