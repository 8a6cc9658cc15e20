"""Chooses the cohort of a round."""

import math

from fedpeft_secure.config import Config
from fedpeft_secure.seeds import Seed


def choose_cohort(config: Config, round_number: int, *, gone: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The clients of a round, sorted: everybody, or a seeded choice of those that are left.

    That is `clients.per_round`, and with over-selection more, of whom the slowest are not waited for.

    The choice is public, so budgets are planned for full participation: no amplification is claimed for it.

    Args:
        config: the run's.
        round_number: from 1.
        gone: clients that have left for good, because their budget or their rounds have ended.
    """
    names = [name for name in config.client_names if name not in gone]
    wanted = config.clients.per_round + extra_clients(config)
    if wanted >= len(names):
        return tuple(sorted(names))
    rng = Seed(config.seed).child("cohort", "round", round_number)
    chosen = rng.choice(len(names), size=wanted, replace=False)
    return tuple(sorted(names[index] for index in chosen))


def extra_clients(config: Config) -> int:
    """How many more clients are asked than a round waits for."""
    return math.ceil(config.clients.over_selection * config.clients.per_round)
