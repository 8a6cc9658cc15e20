"""What each client may spend and how much noise that takes: public, computed before any training."""

import math
from dataclasses import dataclass

import dp
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientBudget:
    """A client's plan.

    Args:
        client: its name.
        epsilon, delta: the most it may ever spend on this ledger.
        noise_multiplier: σ/C of every step; 0 without privacy.
        sample_rate: q, public, one for all clients.
        steps: the most steps that the run may charge, reserved attempts included.
        epsilon_planned: ε after `steps` steps.
    """

    client: str
    epsilon: float
    delta: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    epsilon_planned: float

    @property
    def private(self) -> bool:
        """Whether the budget is finite."""
        return math.isfinite(self.epsilon)

    def signal_to_noise(self, *, dim: int, nominal_batch: int, clients: int = 1) -> float:
        """Largest norm of a clipped sum over the expected norm of its noise, for a sum over `clients` such clients.

        Clipped gradients that all agree have the norm C·batch; noise of `clients` clients σC·√(clients·dim).
        Values below about 0.01 rarely train.
        """
        if not self.private:
            return math.inf
        return math.sqrt(clients) * nominal_batch / (self.noise_multiplier * math.sqrt(dim))


def plan_budgets(config: Config) -> tuple[ClientBudget, ...]:
    """The plan of every client, in order.

    Raises:
        ConfigError: If a budget cannot be met with any reasonable noise.
    """
    return tuple(_plan_client(config, client) for client in config.client_names)


def planned_steps(config: Config) -> int:
    """Steps that a client's noise is calibrated for: every round at full participation, and reserved attempts."""
    return (config.training.rounds + reserved_attempts(config)) * config.training.local_steps


def reserved_attempts(config: Config) -> int:
    """Rounds that may be repeated after a crash without overspending.

    A repeated round is a new release. Simulated noise comes from seeds, so a resumed simulation re-sends the very
    same bytes and needs no reserve; secure noise cannot be drawn again.
    """
    return max(1, math.ceil(config.training.rounds / 20)) if noise_kind(config) == "secure" else 0


def noise_kind(config: Config) -> str:
    """Where noise comes from: "none", "simulation" (seeded, repeatable, so not private) or "secure"."""
    if all(math.isinf(config.epsilon_of(client)) for client in config.client_names):
        return "none"
    return "secure" if config.privacy.noise == "secure" else "simulation"


def _plan_client(config: Config, client: str) -> ClientBudget:
    epsilon, delta = config.epsilon_of(client), config.privacy.delta
    sample_rate, steps = config.training.sample_rate, planned_steps(config)
    noise_multiplier, planned = 0.0, math.inf
    if math.isfinite(epsilon):
        accountant, relation = config.privacy.accountant, config.privacy.relation
        try:
            noise_multiplier = dp.noise_multiplier(
                epsilon=epsilon,
                delta=delta,
                sample_rate=sample_rate,
                steps=steps,
                accountant=accountant,
                relation=relation,
            )
        except dp.UnreachableBudget as error:
            raise ConfigError(
                f"privacy.epsilon: {client}'s budget ε = {epsilon:g} cannot be met over {steps} steps ({error}); "
                "raise it, or lower training.rounds or training.sample_rate"
            ) from error
        planned = dp.epsilon(
            noise_multiplier=noise_multiplier,
            sample_rate=sample_rate,
            steps=steps,
            delta=delta,
            accountant=accountant,
            relation=relation,
        )
    return ClientBudget(
        client=client,
        epsilon=epsilon,
        delta=delta,
        noise_multiplier=noise_multiplier,
        sample_rate=sample_rate,
        steps=steps,
        epsilon_planned=planned,
    )
