"""What each client may spend and how much noise that takes: public, computed before any training."""

import math
from dataclasses import dataclass
from typing import Literal

import dp
from fedpeft_secure.client_noise import ClientNoise
from fedpeft_secure.config import Config, MeasuredImportance
from fedpeft_secure.errors import ConfigError

SLACK, MOST_NOISE = 0.01, 64.0
"""Of the noise that makes room for what was charged before a run: how exact it is, and where it is given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupBudget:
    """The plan of a group of examples within a client: its budget, public share, sampling rate and ε at the end."""

    name: str
    epsilon: float
    share: float
    sample_rate: float
    epsilon_planned: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientBudget:
    """A client's plan.

    Args:
        client: its name.
        epsilon, delta: the most it may ever spend on this ledger; with groups, the most that any example may.
        noise_multiplier: σ/C of every step; 0 without privacy.
        sample_rate: q, public; with groups, that of the whole.
        steps: the most steps that the run may charge, reserved attempts included.
        epsilon_planned: ε after `steps` steps; with groups, that of the worst one.
        clip_norm: C of its examples; None for the run's own.
        rounds: the most rounds that it takes part in; None for all.
        groups: of examples with budgets of their own, by name.
        client_noise: under client-level privacy, what protects the client as a whole.
    """

    client: str
    epsilon: float
    delta: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    epsilon_planned: float
    clip_norm: float | None = None
    rounds: int | None = None
    groups: tuple[GroupBudget, ...] = ()
    client_noise: ClientNoise | None = None

    @property
    def private(self) -> bool:
        """Whether the budget is finite."""
        return math.isfinite(self.epsilon)

    @property
    def limit(self) -> dp.PrivacyBudget:
        """What the ledger holds the client to."""
        groups = tuple((group.name, group.epsilon) for group in self.groups)
        return dp.PrivacyBudget(epsilon=self.epsilon, delta=self.delta, groups=groups)

    def signal_to_noise(self, *, dim: int, nominal_batch: float, clients: int = 1) -> float:
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
        ConfigError: If a budget cannot be met with any reasonable noise, or a given noise passes it.
    """
    return tuple(_plan_client(config, client) for client in config.client_names)


def planned_rounds(config: Config, client: str) -> int:
    """The most rounds that `client` may be chosen for: no amplification is claimed for being left out of some."""
    return min(config.terms_of(client).rounds or config.training.rounds, config.training.rounds)


def planned_steps(config: Config, client: str | None = None) -> int:
    """Steps that noise is calibrated for: every round that a client may be in, and reserved attempts."""
    rounds = config.training.rounds if client is None else planned_rounds(config, client)
    per_round = 1 if config.privacy.unit == "client" else config.training.local_steps
    return (rounds + reserved_attempts(config)) * per_round


def reserved_attempts(config: Config) -> int:
    """Rounds that may be repeated after a crash without overspending.

    A repeated round is a new release. Simulated noise comes from seeds, so a resumed simulation re-sends the very
    same bytes and needs no reserve; secure noise cannot be drawn again.
    """
    return max(1, math.ceil(config.training.rounds / 20)) if noise_kind(config) == "secure" else 0


def charged_before(config: Config) -> tuple[dp.SampledGaussian, ...]:
    """What clients were charged before the run for characteristics that it uses: noise is calibrated for both together.

    Their ledger holds it too; a run that did not plan for it would end a round early.
    """
    found = config.allocation.importance
    if not isinstance(found, MeasuredImportance) or not found.private:
        return ()
    return (dp.SampledGaussian(noise_multiplier=found.noise_multiplier, sample_rate=found.sample_rate, steps=1),)


def noise_kind(config: Config) -> Literal["none", "simulation", "secure"]:
    """Where noise comes from: "none", "simulation" (seeded, repeatable, so not private) or "secure"."""
    if not any(config.is_private(client) for client in config.client_names):
        return "none"
    return "secure" if config.privacy.noise == "secure" else "simulation"


def clip_norm_of(config: Config, budget: ClientBudget) -> float:
    """C of a client's examples."""
    return config.privacy.clip_norm if budget.clip_norm is None else budget.clip_norm


def divisor(config: Config, budget: ClientBudget) -> float:
    """What a client's noisy sums are divided by: the public nominal batch, scaled as its sampling rate is.

    The expected contribution of an example is then the same whatever its client's rate, so that the plain mean over
    clients stays an unbiased estimate; a lower rate costs more noise instead.
    """
    rate = config.training.sample_rate
    return config.training.nominal_batch * (1.0 if budget.sample_rate == rate else budget.sample_rate / rate)


def noise_stddev(config: Config, budget: ClientBudget) -> float:
    """Standard deviation of the noise on a coordinate of what one step of a client sends, before the learning rate."""
    return budget.noise_multiplier * clip_norm_of(config, budget) / divisor(config, budget)


def epsilon_limit(config: Config, client: str) -> float:
    """The budget of `client`: as configured, or what its configured noise spends where it has nothing else."""
    terms = config.terms_of(client)
    if terms.noise_multiplier is None or terms.epsilon is not None:
        return config.epsilon_of(client)
    return _spends(config, client, terms.noise_multiplier, _rate_of(config, client))


def _plan_client(config: Config, client: str) -> ClientBudget:
    if not config.is_private(client):
        return _budget(config, client, noise_multiplier=0.0, epsilon_planned=math.inf)
    if config.groups_of(client):
        return _plan_groups(config, client)
    given = config.terms_of(client).noise_multiplier
    noise_multiplier = _calibrated(config, client) if given is None else given
    planned = _spends(config, client, noise_multiplier, _rate_of(config, client))
    if math.isinf(planned):
        raise ConfigError(
            f"privacy.per_client: {client}'s noise_multiplier = {noise_multiplier:g} is too little for any ε; raise it"
        )
    if planned > epsilon_limit(config, client):
        raise ConfigError(
            f"privacy.per_client: {client}'s noise_multiplier = {noise_multiplier:g} spends ε = {planned:.4g} over "
            f"{planned_steps(config, client)} steps, above its epsilon = {config.epsilon_of(client):g}; raise it to "
            f"{_calibrated(config, client):.4g}, or leave one of the two away"
        )
    return _budget(config, client, noise_multiplier=noise_multiplier, epsilon_planned=planned)


def _plan_groups(config: Config, client: str) -> ClientBudget:
    """IDP-SGD, *Sample*: the noise is common to the client's groups, and each has the rate that its budget allows."""
    groups = config.groups_of(client)
    found = _individual_rates(config, client)
    sigma = _enough_noise(
        config,
        client,
        found.noise_multiplier,
        budgets=tuple((groups[name].epsilon, rate) for name, rate in found.groups),
    )
    planned = tuple(
        GroupBudget(
            name=name,
            epsilon=groups[name].epsilon,
            share=groups[name].share,
            sample_rate=rate,
            epsilon_planned=_spends(config, client, sigma, rate),
        )
        for name, rate in found.groups
    )
    worst = max(group.epsilon_planned for group in planned)
    return _budget(config, client, noise_multiplier=sigma, epsilon_planned=worst, groups=planned)


def _individual_rates(config: Config, client: str) -> dp.IndividualRates:
    groups = config.groups_of(client)
    try:
        return dp.individual_rates(
            epsilons={name: group.epsilon for name, group in groups.items()},
            shares={name: group.share for name, group in groups.items()},
            delta=delta_of(config, client),
            sample_rate=_rate_of(config, client),
            steps=planned_steps(config, client),
            accountant=config.privacy.accountant,
            relation=config.privacy.relation,
        )
    except dp.UnreachableBudget as error:
        raise ConfigError(f"privacy.groups: {client}'s budgets cannot be met: {error}") from error


def _budget(
    config: Config,
    client: str,
    *,
    noise_multiplier: float,
    epsilon_planned: float,
    groups: tuple[GroupBudget, ...] = (),
) -> ClientBudget:
    terms = config.terms_of(client)
    return ClientBudget(
        client=client,
        epsilon=epsilon_limit(config, client),
        delta=delta_of(config, client),
        noise_multiplier=noise_multiplier,
        sample_rate=_rate_of(config, client),
        steps=planned_steps(config, client),
        epsilon_planned=epsilon_planned,
        clip_norm=terms.clip_norm,
        rounds=terms.rounds,
        groups=groups,
    )


def _rate_of(config: Config, client: str) -> float:
    return config.terms_of(client).sample_rate or config.training.sample_rate


def delta_of(config: Config, client: str) -> float:
    """δ of `client`: its own, or everybody's."""
    return config.terms_of(client).delta or config.privacy.delta


def _calibrated(config: Config, client: str) -> float:
    """σ that spends a client's budget together with what it was charged before."""
    epsilon = config.epsilon_of(client)
    alone = _noise_for(config, client, epsilon)
    return _enough_noise(config, client, alone, budgets=((epsilon, _rate_of(config, client)),))


def _enough_noise(config: Config, client: str, alone: float, *, budgets: tuple[tuple[float, float], ...]) -> float:
    """σ for a run after what was charged before it: within 1 % of the smallest that keeps every budget.

    Args:
        config: of the run.
        client: its name.
        alone: σ of a run on a fresh ledger.
        budgets: (ε, sampling rate) of the client, or of each of its groups.

    Raises:
        ConfigError: If what was charged before leaves nothing.
    """

    def keeps(factor: float) -> bool:
        return all(_spends(config, client, alone * factor, rate) <= epsilon for epsilon, rate in budgets)

    before = charged_before(config)
    if not before or keeps(1.0):
        return alone
    low, high = 1.0, 1 + SLACK
    while not keeps(high):
        low, high = high, min(high**2, MOST_NOISE)
        if low == MOST_NOISE:
            raise ConfigError(
                f"allocation.importance: measuring it with noise {before[0].noise_multiplier:g} leaves nothing of "
                f"{client}'s budget; raise privacy.epsilon, or measure with more allocation.importance_noise"
            )
    while high / low > 1 + SLACK:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return alone * high


def _noise_for(config: Config, client: str, epsilon: float) -> float:
    steps = planned_steps(config, client)
    try:
        return dp.noise_multiplier(
            epsilon=epsilon,
            delta=delta_of(config, client),
            sample_rate=_rate_of(config, client),
            steps=steps,
            accountant=config.privacy.accountant,
            relation=config.privacy.relation,
        )
    except dp.UnreachableBudget as error:
        raise ConfigError(
            f"privacy.epsilon: {client}'s budget ε = {epsilon:g} cannot be met over {steps} steps ({error}); "
            "raise it, or lower training.rounds or training.sample_rate"
        ) from error


def _spends(config: Config, client: str, noise_multiplier: float, sample_rate: float) -> float:
    """ε of the whole run, and of what was charged before it."""
    run = dp.SampledGaussian(
        noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=planned_steps(config, client)
    )
    return dp.compose(
        (run, *charged_before(config)),
        delta=delta_of(config, client),
        accountant=config.privacy.accountant,
        relation=config.privacy.relation,
    )
