"""Chooses the cohort of a round."""

from fedpeft_secure.config import Config
from fedpeft_secure.seeds import Seed


def choose_cohort(config: Config, round_number: int) -> tuple[str, ...]:
    """The clients of a round, sorted: everybody, or a seeded choice of `clients.per_round`.

    The choice is public, so budgets are planned for full participation: no amplification is claimed for it.
    """
    names = config.client_names
    if config.clients.per_round == config.clients.count:
        return tuple(sorted(names))
    rng = Seed(config.seed).child("cohort", "round", round_number)
    chosen = rng.choice(len(names), size=config.clients.per_round, replace=False)
    return tuple(sorted(names[index] for index in chosen))
