"""How many rounds a client's ledger has room for: public, because charges are."""

import dp
from fedpeft_secure.budgets import ClientBudget, planned_rounds
from fedpeft_secure.client_budgets import affordable_client_rounds
from fedpeft_secure.config import Config


def affordable_rounds(config: Config, budget: ClientBudget, history: tuple[dp.PrivacyEvent, ...]) -> int:
    """The most rounds, up to those planned, that every example of the client can afford after `history`.

    Args:
        config: the run's configuration.
        budget: the client's plan.
        history: everything that it was charged on the ledger before this run.
    """
    rounds = planned_rounds(config, budget.client)
    if not budget.private:
        return rounds
    if budget.client_noise is not None:
        return affordable_client_rounds(config, budget, history)
    everybody: list[tuple[str | None, float, float]] = [(None, budget.epsilon, budget.sample_rate)]
    for name, epsilon, sample_rate in [(g.name, g.epsilon, g.sample_rate) for g in budget.groups] or everybody:
        steps = dp.affordable_steps(
            noise_multiplier=budget.noise_multiplier,
            sample_rate=sample_rate,
            epsilon=epsilon,
            delta=budget.delta,
            at_most=rounds * config.training.local_steps,
            earlier=dp.seen_by(history, name),
            accountant=config.privacy.accountant,
            relation=config.privacy.relation,
        )
        rounds = min(rounds, steps // config.training.local_steps)
    return rounds


def charged_events(ledger: dp.Ledger, client: str) -> tuple[dp.PrivacyEvent, ...]:
    """Everything that `client` was ever charged on the ledger."""
    return tuple(charge.event for charge in ledger.history(client))
