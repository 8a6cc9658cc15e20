"""Simulated dropouts: which clients vanish before which message of a round."""

from fedpeft_secure.config import Config
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.seeds import Seed


def simulated_dropouts(config: Config, plan: RoundPlan, phases: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """Each client of the cohort vanishes with probability `clients.simulated_dropout`, before a random message."""
    if config.clients.simulated_dropout == 0:
        return {}
    rng = Seed(config.seed).child("dropouts", "round", plan.round, "attempt", plan.attempt)
    gone: dict[str, set[str]] = {}
    for name in plan.cohort:
        if rng.random() < config.clients.simulated_dropout:
            gone.setdefault(phases[rng.integers(len(phases))], set()).add(name)
    return {phase: frozenset(names) for phase, names in gone.items()}
