"""Who limits whom: what each client's plan costs the others, which setting decides it, and what would change it."""

import math
from collections.abc import Mapping
from statistics import median

import dp
from fedpeft_secure.affordability import Foresight
from fedpeft_secure.budgets import ClientBudget, clip_norm_of, divisor, noise_stddev, planned_rounds
from fedpeft_secure.config import Config

DOMINATES = 1.5
"""A client whose noise is more than this many equal shares of the sum's variance is named."""


def variance_shares(config: Config, budgets: tuple[ClientBudget, ...]) -> dict[str, float]:
    """Each client's share of the variance of the noise in a sum over all clients; 0 without noise."""
    variances = {budget.client: noise_stddev(config, budget) ** 2 for budget in budgets}
    total = sum(variances.values())
    return {client: variance / total if total else 0.0 for client, variance in variances.items()}


def limits(
    config: Config, budgets: tuple[ClientBudget, ...], *, rounds: Mapping[str, int], foresight: Foresight
) -> dict[str, tuple[str, ...]]:
    """For each client, what about it limits the run, a sentence each; most have none.

    Args:
        config: the run's.
        budgets: every client's plan.
        rounds: how many rounds each can afford on its ledger.
        foresight: who leaves when.
    """
    shares = variance_shares(config, budgets)
    found = {budget.client: _leaving(config, budget, rounds[budget.client], foresight) for budget in budgets}
    if config.clients.count > 1:
        for budget in budgets:
            found[budget.client] += _dominating(config, budget, budgets, shares[budget.client])
    return {client: tuple(sentences) for client, sentences in found.items()}


def _leaving(config: Config, budget: ClientBudget, rounds: int, foresight: Foresight) -> list[str]:
    planned, sentences = planned_rounds(config, budget.client), []
    why = (
        f"its ledger has room for {rounds} of {planned} rounds"
        if rounds < planned
        else f"privacy.per_client gives it {planned} of {config.training.rounds} rounds"
    )
    after = foresight.leaves.get(budget.client)
    if after is not None:
        ends = "; too few are left then, and the run ends" if after == foresight.ends_after else ""
        sentences.append(f"leaves after round {after}: {why}{ends}")
    elif rounds < config.training.rounds:
        sentences.append(f"may be chosen {rounds} times: {why}")
    return sentences


def _dominating(config: Config, budget: ClientBudget, budgets: tuple[ClientBudget, ...], share: float) -> list[str]:
    if share <= DOMINATES / len(budgets):
        return []
    others = median(noise_stddev(config, other) for other in budgets if other is not budget)
    return [
        f"its noise is {100 * share:.0f} % of the variance of the sum, where an equal share is "
        f"{100 / len(budgets):.0f} %, because of {_decided_by(config, budget)}; {_remedy(config, budget, others)}"
    ]


def _decided_by(config: Config, budget: ClientBudget) -> str:
    terms = config.terms_of(budget.client)
    if budget.groups:
        strictest = min(budget.groups, key=lambda group: group.epsilon)
        return f"its group {strictest.name!r} with ε = {strictest.epsilon:g}"
    if terms.noise_multiplier is not None:
        return f"its noise_multiplier = {budget.noise_multiplier:g}"
    slow = budget.sample_rate < config.training.sample_rate
    return f"its ε = {budget.epsilon:g}" + (f" and its sample_rate = {budget.sample_rate:g}" if slow else "")


def _remedy(config: Config, budget: ClientBudget, others: float) -> str:
    """What would give the client no more noise than the median of the others."""
    wanted = others * divisor(config, budget) / clip_norm_of(config, budget)
    if budget.groups or math.isclose(wanted, 0):
        return "looser budgets of its groups, or another share, would lower it"
    epsilon = dp.epsilon(
        noise_multiplier=wanted,
        sample_rate=budget.sample_rate,
        steps=budget.steps,
        delta=budget.delta,
        accountant=config.privacy.accountant,
        relation=config.privacy.relation,
    )
    return f"with ε = {epsilon:.3g} it would be as loud as the others"
