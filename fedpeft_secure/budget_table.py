"""What `fedpeft budget` shows: every client's plan, before any training."""

import math

from pydantic import BaseModel
from rich.table import Table

from fedpeft_secure.aggregation.choose import choose_strategy
from fedpeft_secure.budgets import ClientBudget, noise_kind, plan_budgets
from fedpeft_secure.client_budgets import plan_client_budgets
from fedpeft_secure.clients.backbone import load_backbone
from fedpeft_secure.config import Config
from fedpeft_secure.data import load
from fedpeft_secure.preflight import check
from fedpeft_secure.result import Number
from fedpeft_secure.seeds import Seed


class BudgetRow(BaseModel):
    """One client's plan; infinite values are written as "inf"."""

    client: str
    epsilon_budget: Number
    epsilon_planned: Number
    delta: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    signal_to_noise: Number
    signal_to_noise_of_sum: Number


def budget_rows(config: Config) -> list[BudgetRow]:
    """The plan of every client; loads model and data to know how many values and classes there are."""
    check(config)
    dim = trained_values(config)
    budgets = plan_client_budgets(config, dim) if config.privacy.unit == "client" else plan_budgets(config)
    return [_row(config, budget, dim) for budget in budgets]


def trained_values(config: Config) -> int:
    """How many values each client sends."""
    data = load(config.data, clients=config.clients.count, seed=Seed(config.seed))
    backbone, _ = load_backbone(config, num_labels=len(data.classes))
    strategy, _ = choose_strategy(config)
    return strategy.trainable(backbone.spec).size


def budget_table(config: Config, rows: list[BudgetRow]) -> Table:
    """The rows for people."""
    privacy = config.privacy
    table = Table(
        title="Privacy budget by client",
        caption=(
            f"unit: {privacy.unit}; relation: {privacy.relation}; accountant: {privacy.accountant}; "
            f"noise: {noise_kind(config)}. SNR: largest norm of a clipped sum over the norm of its noise, "
            "for one client and for the sum of a whole cohort."
        ),
    )
    for heading in ("client", "ε budget", "ε planned", "δ", "σ/C", "q", "steps", "SNR", "SNR of the sum"):
        table.add_column(heading, justify="left" if heading == "client" else "right")
    for row in rows:
        table.add_row(
            row.client,
            _short(row.epsilon_budget),
            _short(row.epsilon_planned),
            f"{row.delta:g}",
            f"{row.noise_multiplier:.3f}",
            f"{row.sample_rate:g}",
            str(row.steps),
            _short(row.signal_to_noise),
            _short(row.signal_to_noise_of_sum),
        )
    return table


def _row(config: Config, budget: ClientBudget, dim: int) -> BudgetRow:
    batch, cohort = config.training.nominal_batch, config.clients.per_round
    if budget.client_noise is not None:
        batch, cohort = 1, cohort**2  # the noise is on the sum already: n equal updates of norm C over zC·√dim
    return BudgetRow(
        client=budget.client,
        epsilon_budget=budget.epsilon,
        epsilon_planned=budget.epsilon_planned,
        delta=budget.delta,
        noise_multiplier=budget.noise_multiplier,
        sample_rate=budget.sample_rate,
        steps=budget.steps,
        signal_to_noise=budget.signal_to_noise(dim=dim, nominal_batch=batch),
        signal_to_noise_of_sum=budget.signal_to_noise(dim=dim, nominal_batch=batch, clients=cohort),
    )


def _short(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.3g}"
