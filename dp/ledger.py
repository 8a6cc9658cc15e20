"""The privacy ledger: what every client was ever charged, on disk before anything is sent."""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from dp.accounting import compose
from dp.charges import Charge, ReleaseId, charge_of, key_of, row_of
from dp.errors import BudgetExceeded, InvalidParameter, LedgerError, LedgerTampered
from dp.events import (
    UNITS,
    Accountant,
    PrivacyBudget,
    PrivacyEvent,
    PrivacySpent,
    Relation,
    Unit,
    merge,
    seen_by,
)
from dp.ledger_store import Head, acquire_writer_lock, connect, connect_read_only, insert, read_rows


class Ledger:
    """An append-only, hash-chained record of charges with the contributions that they paid for.

    Guarantee: `charge` returns only after the charge and the contribution are on disk in one transaction; it raises,
        having stored nothing, if everything that this client was ever charged here would exceed the budget.
        Rows cannot be updated or deleted through SQLite, and a change behind its back breaks the hash chain.
    Assumes: whoever sends a contribution sends only bytes that `charge` or `contribution` returned for; the file
        system honours fsync; all runs on the same data share one ledger.
    Does not cover: somebody who owns the file and rewrites the whole chain, or cuts off its end: keep `head()`
        elsewhere and pass it to `verify`.
    """

    def __init__(self, connection: sqlite3.Connection, lock: sqlite3.Connection | None) -> None:
        """Use `Ledger.open` or `Ledger.read`."""
        self._connection = connection
        self._lock = lock
        self._mutex = threading.RLock()
        self._charges: dict[str, list[Charge]] = {}
        self._releases: dict[tuple[str, ReleaseId], Charge] = {}
        self._head = Head(count=0, digest=b"\0" * 32)
        self._load()

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Opens or creates the ledger at `path` (mode 0600) as its only writer, and verifies the whole chain.

        Raises: LedgerInUse; LedgerTampered; LedgerError for a file that is no ledger.
        """
        path = Path(path).resolve()  # one lock, whichever name the file is opened by
        lock = acquire_writer_lock(path)
        try:
            return cls(connect(path), lock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Opens an existing ledger for reading, beside its writer if there is one; `charge` is refused.

        Raises: LedgerError; LedgerTampered.
        """
        return cls(connect_read_only(Path(path)), None)

    def close(self) -> None:
        """Lets the next writer in."""
        with self._mutex:
            self._connection.close()
            if self._lock is not None:
                self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check(
        self,
        *,
        client: str,
        event: PrivacyEvent,
        budget: PrivacyBudget,
        accountant: Accountant = "prv",
        relation: Relation = "add_remove",
        unit: Unit = "example",
    ) -> PrivacySpent:
        """Returns what the client will have spent after `event`, storing nothing: ask before training.

        Raises: BudgetExceeded; LedgerError when the client was charged in another unit.
        """
        if unit not in UNITS:
            raise InvalidParameter(f"unit={unit!r} is unknown; use one of {', '.join(UNITS)}")
        with self._mutex:
            earlier = self._charges.get(client, [])
            if earlier and earlier[0].unit != unit:
                raise LedgerError(
                    f"client {client!r} has charges in unit {earlier[0].unit!r} here, which do not compose with "
                    f"{unit!r}; use another ledger"
                )
            events = (*(charge.event for charge in earlier), event)
        for group, epsilon in budget.groups:
            seen = seen_by(events, group)
            reached = compose(seen, delta=budget.delta, accountant=accountant, relation=relation)
            _refuse_above(epsilon, reached, f"client {client!r}, group {group!r}", budget.delta, len(events))
        total = compose(events, delta=budget.delta, accountant=accountant, relation=relation)
        _refuse_above(budget.epsilon, total, f"client {client!r}", budget.delta, len(events))
        return PrivacySpent(epsilon=total, delta=budget.delta, unit=unit, relation=relation, accountant=accountant)

    def charge(
        self,
        *,
        client: str,
        release: ReleaseId,
        event: PrivacyEvent,
        budget: PrivacyBudget,
        contribution: bytes,
        accountant: Accountant = "prv",
        relation: Relation = "add_remove",
        unit: Unit = "example",
    ) -> PrivacySpent:
        """Stores the charge and the encoded contribution in one transaction, then returns what is spent.

        A repeated call with the very same arguments stores nothing: the same bytes may be sent again for free.

        Args: contribution: exactly the bytes that will be sent; noise already in them.
        Raises: BudgetExceeded before anything is stored; LedgerError when this release was charged differently.
        """
        with self._mutex:
            if self._lock is None:
                raise LedgerError("this ledger was opened with Ledger.read; open it with Ledger.open to charge")
            digest = hashlib.sha256(contribution).hexdigest()
            known = self._releases.get((client, release))
            if known is not None:
                if (known.contribution_digest, known.event) != (digest, event):
                    raise LedgerError(
                        f"client {client!r} was already charged for {release} with other bytes or another event; "
                        "send the stored contribution, or charge a new attempt"
                    )
                return self.spent(client, delta=budget.delta, accountant=accountant, relation=relation)
            spent = self.check(
                client=client, event=event, budget=budget, accountant=accountant, relation=relation, unit=unit
            )
            charge = Charge(
                sequence=self._head.count + 1,
                client=client,
                release=release,
                event=event,
                budget=budget,
                unit=unit,
                relation=relation,
                accountant=accountant,
                contribution_bytes=len(contribution),
                contribution_digest=digest,
            )
            self._head = insert(self._connection, self._head, key_of(charge), row_of(charge), contribution)
            self._remember(charge)
            return spent

    def contribution(self, client: str, release: ReleaseId) -> bytes | None:
        """Returns the bytes that were charged for this release, to be sent again; None if it was never charged."""
        with self._mutex:
            charge = self._releases.get((client, release))
            if charge is None:
                return None
            query = "SELECT contribution FROM charges WHERE sequence = ?"
            found: bytes = self._connection.execute(query, (charge.sequence,)).fetchone()[0]
        if hashlib.sha256(found).hexdigest() != charge.contribution_digest:
            raise LedgerTampered(f"the contribution of charge {charge.sequence} was changed; restore a backup")
        return found

    def spent(
        self,
        client: str,
        *,
        delta: float,
        accountant: Accountant = "prv",
        relation: Relation = "add_remove",
        group: str | None = None,
    ) -> PrivacySpent:
        """Evaluates everything that `client` was ever charged on this ledger, over all runs.

        Args: group: only what examples of this group went through; without it a bound for all of the client's.
        """
        charges = self.history(client)
        events = merge(seen_by(tuple(charge.event for charge in charges), group))
        total = compose(events, delta=delta, accountant=accountant, relation=relation)
        unit: Unit = charges[0].unit if charges else "example"
        return PrivacySpent(epsilon=total, delta=delta, unit=unit, relation=relation, accountant=accountant)

    def history(self, client: str) -> tuple[Charge, ...]:
        """Returns the client's charges, oldest first."""
        with self._mutex:
            return tuple(self._charges.get(client, ()))

    def clients(self) -> tuple[str, ...]:
        """Returns every client that was ever charged, sorted."""
        with self._mutex:
            return tuple(sorted(self._charges))

    def head(self) -> Head:
        """Returns the number of charges and the end of the hash chain: publish it to make truncation evident."""
        return self._head

    def verify(self, *, head: Head | None = None) -> None:
        """Recomputes the hash chain and every contribution's digest from the file.

        Args: head: an earlier `head()`, kept elsewhere; it must still lie on the chain.
        Raises: LedgerTampered.
        """
        with self._mutex:
            seen = head is None or head.count == 0
            end = self._head
            for end, _ in self._chain():
                seen = seen or end == head
        if not seen or end != self._head:
            raise LedgerTampered("the ledger does not hold charges that it held before; restore a backup")

    def _load(self) -> None:
        try:
            for head, charge in self._chain():
                self._head = head
                self._remember(charge)
        except BaseException:
            self._connection.close()
            raise

    def _chain(self) -> Iterator[tuple[Head, Charge]]:
        head = Head(count=0, digest=b"\0" * 32)
        for stored, row, contribution in read_rows(self._connection):
            with _tampering_at(head.count + 1):
                charge = charge_of(row)
                ours = hashlib.sha256(contribution).hexdigest() == charge.contribution_digest
                following = head.next(row)
                if not ours or stored != following or charge.sequence != following.count:
                    raise InvalidParameter("mismatch")
            head = following
            yield head, charge

    def _remember(self, charge: Charge) -> None:
        self._charges.setdefault(charge.client, []).append(charge)
        self._releases[charge.client, charge.release] = charge


def _refuse_above(limit: float, reached: float, whose: str, delta: float, charges: int) -> None:
    if reached > limit:
        raise BudgetExceeded(
            f"{whose}: ε would reach {reached:.4g} at δ={delta:g} over {charges} charges, above "
            f"its budget of {limit:.4g}; let it leave the cohort, or plan fewer rounds or more noise"
        )


@contextmanager
def _tampering_at(sequence: int) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerTampered(
            f"charge {sequence} of the ledger breaks the hash chain; restore a backup, and trust no ε computed from it"
        ) from error
