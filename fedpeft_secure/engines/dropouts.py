"""Simulated dropouts: which clients vanish before which message of a round, and who is too slow for it."""

import numpy as np

from fedpeft_secure.config import Config
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.seeds import Seed


def simulated_dropouts(config: Config, plan: RoundPlan, phases: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """Each client of the cohort vanishes with probability `clients.simulated_dropout`, before a random message.

    Of those that are left the slowest are cut off before the upload: a round waits for `clients.per_round` only.
    """
    gone: dict[str, set[str]] = {}
    if config.clients.simulated_dropout > 0:
        rng = _stream(config, plan, "dropouts")
        for name in plan.cohort:
            if rng.random() < config.clients.simulated_dropout:
                gone.setdefault(phases[rng.integers(len(phases))], set()).add(name)
    left = [name for name in plan.cohort if not any(name in names for names in gone.values())]
    gone.setdefault("upload", set()).update(_too_slow(config, plan, left))
    return {phase: frozenset(names) for phase, names in gone.items() if names}


def _too_slow(config: Config, plan: RoundPlan, left: list[str]) -> list[str]:
    """Whose training takes longest, drawn anew in every round."""
    surplus = len(left) - config.clients.per_round
    if surplus <= 0:
        return []
    delays = _stream(config, plan, "delays").random(len(left))
    return [left[index] for index in np.argsort(delays, kind="stable")[-surplus:]]


def _stream(config: Config, plan: RoundPlan, purpose: str) -> np.random.Generator:
    return Seed(config.seed).child(purpose, "round", plan.round, "attempt", plan.attempt)
