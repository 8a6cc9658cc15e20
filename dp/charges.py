"""One charge of the ledger: its fields and their canonical text, which the hash chain covers."""

import json
from dataclasses import dataclass, field
from typing import cast

from dp.errors import InvalidParameter
from dp.events import Accountant, PrivacyBudget, PrivacyEvent, Relation, Unit, from_json, to_json

Row = str  # canonical JSON of one charge
Key = tuple[str, str, int, int]  # client, run, round, attempt


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseId:
    """Names one release of one client: a resumed step keeps its attempt, fresh noise is a new attempt."""

    run: str
    round: int
    attempt: int = 0

    def __post_init__(self) -> None:
        if not self.run or self.round < 0 or self.attempt < 0:
            raise InvalidParameter(f"release {self!r} needs a run name, and a round and attempt of at least 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """One row of the ledger, without the bytes of the contribution."""

    sequence: int
    client: str
    release: ReleaseId
    event: PrivacyEvent
    budget: PrivacyBudget
    unit: Unit
    relation: Relation
    accountant: Accountant
    contribution_bytes: int
    contribution_digest: str = field(repr=False)


def key_of(charge: Charge) -> Key:
    """What must be unique in the ledger."""
    release = charge.release
    return charge.client, release.run, release.round, release.attempt


def row_of(charge: Charge) -> Row:
    """The canonical text of a charge, which the chain signs."""
    budget = charge.budget
    # Rows without groups have the same text as before there were any, so that older chains still verify.
    groups = {"groups": [[name, epsilon] for name, epsilon in budget.groups]} if budget.groups else {}
    return json.dumps(
        groups
        | {
            "sequence": charge.sequence,
            "client": charge.client,
            "run": charge.release.run,
            "round": charge.release.round,
            "attempt": charge.release.attempt,
            "event": to_json(charge.event),
            "epsilon": "inf" if budget.epsilon == float("inf") else budget.epsilon,
            "delta": budget.delta,
            "unit": charge.unit,
            "relation": charge.relation,
            "accountant": charge.accountant,
            "contribution_bytes": charge.contribution_bytes,
            "contribution_digest": charge.contribution_digest,
        },
        sort_keys=True,
        separators=(",", ":"),
    )


def charge_of(row: Row) -> Charge:
    """Reads what `row_of` wrote.

    Raises: ValueError, KeyError or TypeError on anything else.
    """
    fields = json.loads(row)
    return Charge(
        sequence=int(fields["sequence"]),
        client=str(fields["client"]),
        release=ReleaseId(run=fields["run"], round=fields["round"], attempt=fields["attempt"]),
        event=from_json(fields["event"]),
        budget=PrivacyBudget(
            epsilon=float(fields["epsilon"]),
            delta=fields["delta"],
            groups=tuple((str(name), float(epsilon)) for name, epsilon in fields.get("groups", ())),
        ),
        unit=cast("Unit", fields["unit"]),
        relation=cast("Relation", fields["relation"]),
        accountant=cast("Accountant", fields["accountant"]),
        contribution_bytes=int(fields["contribution_bytes"]),
        contribution_digest=str(fields["contribution_digest"]),
    )
