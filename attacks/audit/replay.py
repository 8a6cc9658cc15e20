"""Replays a ledger: was every step that was really taken charged, and charged as what it was?"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import dp
from attacks.audit.counting import Tally
from dp.charges import Charge
from dp.errors import LedgerTampered
from dp.events import DiscreteGaussianSum, NonPrivate, SkellamSum, merge, seen_by
from dp.ledger_store import Head
from fedpeft_secure.allocation import deal_allotments
from fedpeft_secure.config import Config
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.result import ClientPrivacy, RoundRecord
from fedpeft_secure.rundir import open_run, read_rounds, read_run

CLOSE = 1e-6
"""Relative difference of two evaluations of one ε that is put down to rounding."""


def steps_of(charges: Iterable[Charge]) -> int:
    """How many steps were charged."""
    return sum(charge.event.steps for charge in charges)


def count_problems(tally: Tally, charges: tuple[Charge, ...], *, plan: RoundPlan, tensors: int) -> tuple[str, ...]:
    """What is wrong between the draws that were watched and what the ledger holds; empty if nothing is.

    Args:
        tally: what one client drew.
        charges: of this client and run.
        plan: as the client follows it.
        tensors: trained tensors; each step draws noise for each of them once.
    """
    charged = steps_of(charges)
    sampled = tally.samples / max(len(plan.groups), 1)
    noised = tally.noises / tensors
    problems = []
    if sampled != charged:
        problems.append(f"the client took {sampled:g} steps, its ledger was charged for {charged}")
    if noised != charged:
        problems.append(f"the client drew noise for {noised:g} steps, its ledger was charged for {charged}")
    return tuple(problems)


def replay_ledger(root: Path) -> tuple[str, ...]:
    """What is wrong between a finished run's ledger, its rounds and its result; empty if nothing is.

    Guarantee: with no problems, the ledger's chain is whole and reaches back to every recorded round; every survivor of
        every round was charged for as many steps as a round has, with the noise, rate and unit that the result names;
        and the ε in the result is what the accountant says of the ledger at that point.
    Assumes: `rounds.jsonl` and `config.toml` are as the run wrote them: compare their digests where somebody could gain
        from changing them.
    Does not cover: what a client did beside its protocol; that is watched in an audit.

    Raises:
        RunDirectoryError: If the directory holds no finished run.
        dp.LedgerError: If its ledger cannot be read.
    """
    saved = read_run(root)
    directory, config = open_run(root)
    run = (root / ".run-name").read_text("utf-8")
    path = directory.ledger if config.privacy.ledger == "run" else Path(config.privacy.ledger)
    records = read_rounds(directory)
    with dp.Ledger.read(path) as ledger:
        problems = []
        for record in records:
            head = Head(count=record.ledger.charges, digest=bytes.fromhex(record.ledger.digest))
            try:
                ledger.verify(head=head)
            except LedgerTampered:
                problems.append(f"round {record.round}: the ledger does not hold the charges that it held then")
        for row in saved.result.privacy.clients:
            problems += _client_problems(ledger.history(row.client), row, records, config=config, run=run)
    return tuple(problems)


def _client_problems(
    history: tuple[Charge, ...], row: ClientPrivacy, records: list[RoundRecord], *, config: Config, run: str
) -> list[str]:
    own = {part.client: part.local_steps for part in deal_allotments(config)}
    steps = 1 if config.privacy.unit == "client" else own[row.client]
    releases = {
        (charge.release.round, charge.release.attempt): charge for charge in history if charge.release.run == run
    }
    problems = []
    for record in records:
        if row.client not in record.survivors:
            continue
        charge = releases.get((record.round, record.attempt))
        if charge is None:
            problems.append(f"{row.client}: round {record.round} was never charged")
            continue
        problems += [f"{row.client}: round {record.round} {wrong}" for wrong in _wrong(charge, row, steps, config)]
    if row.steps != steps_of(releases.values()):
        problems.append(f"{row.client}: the result says {row.steps} steps, the ledger {steps_of(releases.values())}")
    if records:
        problems += _epsilon_problems(history, row, records[-1], config)
    return problems


def _wrong(charge: Charge, row: ClientPrivacy, steps: int, config: Config) -> list[str]:
    event, wrong = charge.event, []
    if event.steps != steps:
        wrong.append(f"took {steps} steps and was charged for {event.steps}")
    if charge.unit != config.privacy.unit:
        wrong.append(f"was charged in unit {charge.unit!r}, the run's is {config.privacy.unit!r}")
    if isinstance(event, NonPrivate):
        return wrong
    if event.noise_multiplier > row.noise_multiplier * (1 + CLOSE):
        wrong.append(
            f"was charged for noise of {event.noise_multiplier:.4g} clip norms, it had {row.noise_multiplier:.4g}"
        )
    if isinstance(event, dp.SampledGaussian) and event.sample_rate < row.sample_rate * (1 - CLOSE):
        wrong.append(f"was charged at the rate {event.sample_rate:.4g}, it sampled at {row.sample_rate:.4g}")
    return wrong


def _epsilon_problems(history: tuple[Charge, ...], row: ClientPrivacy, last: RoundRecord, config: Config) -> list[str]:
    events = tuple(charge.event for charge in history if charge.sequence <= last.ledger.charges)
    spent = dp.compose(
        merge(seen_by(events)), delta=row.delta, accountant=config.privacy.accountant, relation=config.privacy.relation
    )
    said: Mapping[str, float] = {"result": row.epsilon_spent, "last round": last.epsilon_spent[row.client]}
    return [
        f"{row.client}: the {where} says ε = {value:.6g}, its charges make {spent:.6g}"
        for where, value in said.items()
        if value < spent * (1 - CLOSE)
    ]


def as_gaussians(events: tuple[dp.PrivacyEvent, ...]) -> tuple[dp.SampledGaussian, ...]:
    """Events as one unit saw them, sums of noise shares as Gaussian sums of the same variance; for trade-off curves.

    Such sums are within a factor e^±0.001 of Gaussian ones at the noise that they are allowed to have
    (`dp.distributed.accounting`).
    """
    found = []
    for event in merge(seen_by(events)):
        if isinstance(event, dp.SampledGaussian):
            found.append(event)
        elif isinstance(event, SkellamSum | DiscreteGaussianSum):
            found.append(
                dp.SampledGaussian(noise_multiplier=event.noise_multiplier, sample_rate=1.0, steps=event.steps)
            )
    return tuple(found)
