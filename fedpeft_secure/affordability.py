"""How many rounds a client's ledger has room for, and who leaves when: public, because charges and cohorts are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import dp
from fedpeft_secure.allocation import choose_cohort
from fedpeft_secure.budgets import ClientBudget, planned_rounds
from fedpeft_secure.client_budgets import affordable_client_rounds
from fedpeft_secure.config import Config
from fedpeft_secure.protocols import too_few


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


def rounds_on_ledger(config: Config, budgets: Iterable[ClientBudget]) -> dict[str, int]:
    """The rounds that each client can afford on the ledger that the configuration names, as it is now.

    Args:
        config: the run's; a ledger of its own, or one that is not there yet, is empty.
        budgets: the clients' plans.
    """
    path = Path(config.privacy.ledger).expanduser()
    if config.privacy.ledger == "run" or not path.exists():
        return {budget.client: affordable_rounds(config, budget, ()) for budget in budgets}
    with dp.Ledger.read(path) as ledger:
        return {
            budget.client: affordable_rounds(config, budget, charged_events(ledger, budget.client))
            for budget in budgets
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Foresight:
    """What will happen if no round fails.

    Args:
        leaves: {client: the round after which it leaves}, for those that do before the last round.
        ends_after: the round after which too few are left, or None.
    """

    leaves: Mapping[str, int]
    ends_after: int | None


def foresee(config: Config, rounds: Mapping[str, int]) -> Foresight:
    """Plays the choice of cohorts, which is public, to the end.

    Args:
        config: the run's.
        rounds: {client: how many rounds it can take part in}.
    """
    left = dict(rounds)
    leaves = {name: 0 for name, count in left.items() if count == 0}
    if min(left.values()) >= config.training.rounds:
        return Foresight(leaves={}, ends_after=None)
    for number in range(1, config.training.rounds + 1):
        if too_few(config, min(config.clients.per_round, len(left) - len(leaves))):
            return Foresight(leaves=leaves, ends_after=number - 1)
        if number == config.training.rounds:
            break
        for name in choose_cohort(config, number, gone=frozenset(leaves)):
            left[name] -= 1
            if left[name] == 0:
                leaves[name] = number
    return Foresight(leaves=leaves, ends_after=None)
