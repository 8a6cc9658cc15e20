"""What `fedpeft budget --ledger` shows: what every client was charged, what that spent, and what is left of a plan."""

from pathlib import Path

from pydantic import BaseModel
from rich.table import Table

import dp
from dp.events import Accountant, Relation
from fedpeft_secure.affordability import affordable_rounds, charged_events
from fedpeft_secure.budget_table import short
from fedpeft_secure.budgets import ClientBudget, plan_budgets, planned_rounds
from fedpeft_secure.config import Config
from fedpeft_secure.preflight import check
from fedpeft_secure.result import Number


class SpentGroup(BaseModel):
    """One group of examples within a client."""

    group: str
    epsilon_spent: Number
    epsilon_budget: Number


class Left(BaseModel):
    """What a configuration's plan finds left. Rounds say more than a difference of ε, because ε does not add up."""

    epsilon_budget: Number
    epsilon_left: Number
    rounds_planned: int
    rounds_affordable: int


class LedgerRow(BaseModel):
    """Everything that one client was ever charged on the ledger.

    δ, accountant and budget are those of its last charge, or of the plan where a configuration is given.
    """

    client: str
    runs: int
    charges: int
    steps: int
    contribution_bytes: int
    epsilon_spent: Number
    epsilon_budget: Number
    delta: float
    unit: str
    relation: str
    accountant: str
    groups: list[SpentGroup]
    left: Left | None = None


def ledger_rows(path: Path, config: Config | None = None) -> list[LedgerRow]:
    """One row a client, from a verified ledger that is only read.

    Args:
        path: the ledger.
        config: a run that is to be charged on it next, or None.

    Raises:
        dp.LedgerError: If there is no ledger, or its chain is broken.
        ConfigError: If the configuration cannot run.
    """
    if config is None:
        with dp.Ledger.read(path) as ledger:
            return [_charged(ledger, name) for name in sorted(ledger.clients(), key=_by_number)]
    check(config)
    plans = {budget.client: budget for budget in plan_budgets(config)}
    with dp.Ledger.read(path) as ledger:
        strangers = sorted(set(ledger.clients()) - set(plans), key=_by_number)
        known = [_planned(ledger, config, plan) for plan in plans.values()]
        return [*known, *(_charged(ledger, name) for name in strangers)]


def ledger_table(path: Path, rows: list[LedgerRow]) -> Table:
    """The rows for people."""
    meanings = sorted(
        {f"unit: {row.unit}; relation: {row.relation}; accountant: {row.accountant}; δ = {row.delta:g}" for row in rows}
    )
    table = Table(title=f"Privacy ledger {path.name}", caption="\n".join(meanings))
    planned = any(row.left for row in rows)
    for heading in ("client", "runs", "charges", "steps", "ε spent", "ε budget", *(("rounds left",) * planned)):
        table.add_column(heading, justify="left" if heading == "client" else "right")
    for row in rows:
        cells = [str(row.runs), str(row.charges), str(row.steps), short(row.epsilon_spent), short(row.epsilon_budget)]
        left = [f"{row.left.rounds_affordable} of {row.left.rounds_planned}"] if row.left else []
        table.add_row(row.client, *cells, *left)
        for group in row.groups:
            table.add_row(f"  {group.group}", "", "", "", short(group.epsilon_spent), short(group.epsilon_budget))
    return table


def _charged(ledger: dp.Ledger, client: str) -> LedgerRow:
    """What was charged, as its last charge counts it."""
    last = ledger.history(client)[-1]
    return _row(ledger, client, budget=last.budget, unit=last.unit, relation=last.relation, accountant=last.accountant)


def _planned(ledger: dp.Ledger, config: Config, plan: ClientBudget) -> LedgerRow:
    """What was charged, as the configuration counts it, and what that leaves."""
    privacy, history = config.privacy, charged_events(ledger, plan.client)
    row = _row(
        ledger,
        plan.client,
        budget=plan.limit,
        unit=privacy.unit,
        relation=privacy.relation,
        accountant=privacy.accountant,
    )
    left = Left(
        epsilon_budget=plan.epsilon,
        epsilon_left=max(plan.epsilon - row.epsilon_spent, 0.0) if plan.private else plan.epsilon,
        rounds_planned=planned_rounds(config, plan.client),
        rounds_affordable=affordable_rounds(config, plan, history),
    )
    return row.model_copy(update={"left": left})


def _row(
    ledger: dp.Ledger,
    client: str,
    *,
    budget: dp.PrivacyBudget,
    unit: str,
    relation: Relation,
    accountant: Accountant,
) -> LedgerRow:
    charges = ledger.history(client)

    def spent(group: str | None) -> float:
        return ledger.spent(client, delta=budget.delta, accountant=accountant, relation=relation, group=group).epsilon

    return LedgerRow(
        client=client,
        runs=len({charge.release.run for charge in charges}),
        charges=len(charges),
        steps=sum(charge.event.steps for charge in charges),
        contribution_bytes=sum(charge.contribution_bytes for charge in charges),
        epsilon_spent=spent(None),
        epsilon_budget=budget.epsilon,
        delta=budget.delta,
        unit=unit,
        relation=relation,
        accountant=accountant,
        groups=[
            SpentGroup(group=name, epsilon_spent=spent(name), epsilon_budget=epsilon) for name, epsilon in budget.groups
        ],
    )


def _by_number(client: str) -> tuple[str, int]:
    """client-2 before client-10."""
    stem, _, number = client.rpartition("-")
    return (stem, int(number)) if number.isdigit() else (client, 0)
