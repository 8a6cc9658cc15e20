"""What `fedpeft budget` shows: every client's plan, before any training."""

import math

from pydantic import BaseModel
from rich import box
from rich.table import Table

from fedpeft_secure.affordability import foresee, rounds_on_ledger
from fedpeft_secure.aggregation.choose import choose_strategy
from fedpeft_secure.budget_limits import limits, variance_shares
from fedpeft_secure.budgets import ClientBudget, clip_norm_of, divisor, noise_kind, plan_budgets
from fedpeft_secure.client_budgets import plan_client_budgets
from fedpeft_secure.clients.backbone import load_adapted
from fedpeft_secure.config import Config
from fedpeft_secure.data import load
from fedpeft_secure.preflight import check
from fedpeft_secure.result import Number
from fedpeft_secure.seeds import Seed


class GroupRow(BaseModel):
    """The plan of one group of examples within a client."""

    group: str
    share: float
    epsilon_budget: Number
    epsilon_planned: Number
    sample_rate: float


class BudgetRow(BaseModel):
    """One client's plan; infinite values are written as "inf".

    `rounds` is how many it can take part in, as configured and as its ledger has room; `variance_share` its share of
    the noise in a sum over everybody; `limits` says in words what about it limits the run.
    """

    client: str
    epsilon_budget: Number
    epsilon_planned: Number
    delta: float
    noise_multiplier: float
    sample_rate: float
    clip_norm: float
    rounds: int
    steps: int
    signal_to_noise: Number
    signal_to_noise_of_sum: Number
    variance_share: float
    groups: list[GroupRow]
    limits: list[str]


def budget_rows(config: Config) -> list[BudgetRow]:
    """The plan of every client; loads model and data to know how many values and classes there are.

    A ledger that the configuration shares with earlier runs is read: what it holds is spent.
    """
    check(config)
    dim = trained_values(config)
    budgets = plan_client_budgets(config, dim) if config.privacy.unit == "client" else plan_budgets(config)
    rounds = rounds_on_ledger(config, budgets)
    sentences = limits(config, budgets, rounds=rounds, foresight=foresee(config, rounds))
    shares = variance_shares(config, budgets)
    return [
        _row(
            config,
            budget,
            dim=dim,
            rounds=rounds[budget.client],
            share=shares[budget.client],
            sentences=sentences[budget.client],
        )
        for budget in budgets
    ]


def trained_values(config: Config) -> int:
    """How many values each client sends."""
    data = load(config.data, clients=config.clients.count, seed=Seed(config.seed))
    _, spec = load_adapted(config, num_labels=len(data.classes), classes=data.classes)
    strategy, _ = choose_strategy(config)
    return strategy.trainable(spec).size


def budget_table(config: Config, rows: list[BudgetRow]) -> Table:
    """The rows for people: a column for what differs, below it what is common to all, and who limits whom."""
    columns = {
        "client": [row.client for row in rows],
        "ε budget": [short(row.epsilon_budget) for row in rows],
        "planned": [short(row.epsilon_planned) for row in rows],
        "σ/C": [f"{row.noise_multiplier:.3f}" for row in rows],
        "SNR": [short(row.signal_to_noise) for row in rows],
        "variance": [f"{100 * row.variance_share:.0f} %" for row in rows],
    }
    may_differ = {
        "δ": [f"{row.delta:g}" for row in rows],
        "q": [f"{row.sample_rate:.3g}" for row in rows],
        "C": [f"{row.clip_norm:g}" for row in rows],
        "rounds": [str(row.rounds) for row in rows],
    }
    grouped = any(row.groups for row in rows)
    shown = {name for name, cells in may_differ.items() if len(set(cells)) > 1} | ({"q"} if grouped else set())
    columns |= {name: cells for name, cells in may_differ.items() if name in shown}
    common = ", ".join(f"{name} = {cells[0]}" for name, cells in may_differ.items() if name not in shown)
    table = Table(
        title="Privacy budget by client",
        caption="\n".join((*_notes(rows), *_meanings(config, common))),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    for heading in columns:
        table.add_column(heading, justify="left" if heading == "client" else "right", no_wrap=True)
    for row, cells in zip(rows, zip(*columns.values(), strict=True), strict=True):
        table.add_row(*cells)
        for group in row.groups:
            own = {
                "client": f"  {group.group}",
                "ε budget": short(group.epsilon_budget),
                "planned": short(group.epsilon_planned),
                "q": f"{group.sample_rate:.3g}",
            }
            table.add_row(*(own.get(name, "") for name in columns))
    return table


def _notes(rows: list[BudgetRow]) -> list[str]:
    notes = [f"{row.client}: {sentence}." for row in rows for sentence in row.limits]
    quietest = min(rows, key=lambda row: row.signal_to_noise)
    if len({row.signal_to_noise for row in rows}) > 1:
        notes.append(f"{quietest.client} has the lowest SNR, {quietest.signal_to_noise:.3g}.")
    return notes


def _meanings(config: Config, common: str) -> tuple[str, ...]:
    privacy = config.privacy
    return (
        *((f"For every client: {common}.",) if common else ()),
        f"unit: {privacy.unit}; relation: {privacy.relation}; accountant: {privacy.accountant}; "
        f"noise: {noise_kind(config)}. SNR: largest norm of a clipped sum over the norm of its noise, for one client. "
        "Variance: share of the noise in a sum over everybody.",
    )


def short(value: float) -> str:
    """A number for a table, three digits."""
    return "∞" if math.isinf(value) else f"{value:.3g}"


def _row(
    config: Config, budget: ClientBudget, *, dim: int, rounds: int, share: float, sentences: tuple[str, ...]
) -> BudgetRow:
    batch, cohort = divisor(config, budget), config.clients.per_round
    if budget.client_noise is not None:
        batch, cohort = 1, cohort**2  # the noise is on the sum already: n equal updates of norm C over zC·√dim
    return BudgetRow(
        client=budget.client,
        epsilon_budget=budget.epsilon,
        epsilon_planned=budget.epsilon_planned,
        delta=budget.delta,
        noise_multiplier=budget.noise_multiplier,
        sample_rate=budget.sample_rate,
        clip_norm=clip_norm_of(config, budget),
        rounds=rounds,
        steps=budget.steps,
        signal_to_noise=budget.signal_to_noise(dim=dim, nominal_batch=batch),
        signal_to_noise_of_sum=budget.signal_to_noise(dim=dim, nominal_batch=batch, clients=cohort),
        variance_share=share,
        groups=[
            GroupRow(
                group=group.name,
                share=group.share,
                epsilon_budget=group.epsilon,
                epsilon_planned=group.epsilon_planned,
                sample_rate=group.sample_rate,
            )
            for group in budget.groups
        ],
        limits=list(sentences),
    )
