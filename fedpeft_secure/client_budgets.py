"""Budgets under client-level privacy: one noise for all clients, calibrated to the guaranteed honest survivors."""

import math
from dataclasses import replace

import dp
import secagg
from dp.calibration import most_fitting
from dp.distributed.calibrate import Cohort, calibrate
from fedpeft_secure.budgets import ClientBudget, planned_steps
from fedpeft_secure.client_noise import ClientNoise, Mechanism
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.secure_sums import corrupt_clients

COUNT_SHARE = 0.05
"""The most of a round's budget (of 1/z²) that an adaptive clip norm may take under count_noise = "auto"."""


def plan_client_budgets(config: Config, dim: int) -> tuple[ClientBudget, ...]:
    """The plan of every client; all share one mechanism, calibrated for the smallest of their budgets.

    Guarantee: the noise of the guaranteed honest survivors alone keeps the run, every round at full participation and
    reserved attempts included, within every client's budget.

    Args:
        config: a checked configuration.
        dim: values in a client's update.

    Raises:
        ConfigError: If the budget cannot be met with the bits of the secure sum.
    """
    epsilon = min(config.epsilon_of(client) for client in config.client_names)
    steps = planned_steps(config)
    noise = None if math.isinf(epsilon) else _calibrated(config, dim, epsilon, steps)
    planned = math.inf if noise is None else _spends(config, noise, steps)
    return tuple(
        ClientBudget(
            client=client,
            epsilon=config.epsilon_of(client),
            delta=config.privacy.delta,
            noise_multiplier=0.0 if noise is None else noise.noise_multiplier,
            sample_rate=1.0,
            steps=steps,
            epsilon_planned=planned,
            client_noise=noise,
        )
        for client in config.client_names
    )


def resolve_mechanism(config: Config) -> Mechanism:
    """The mechanism of `[privacy]`; "auto" takes discrete Gaussian shares, for which every accountant has a proof."""
    chosen = config.privacy.mechanism
    return "distributed_discrete_gaussian" if chosen == "auto" else chosen


def cohort_of(config: Config) -> Cohort:
    """How many clients a full cohort has, and how many honest ones every sum is guaranteed to hold."""
    clients, sums = config.clients, config.secure_sum
    graph = secagg.plan_graph(
        clients.per_round,
        adversarial_fraction=sums.adversarial_fraction,
        dropout_fraction=sums.dropout_fraction,
        malicious_server=sums.server == "malicious",
    )
    plan = secagg.SumPlan(
        protocol="masked",
        clients=tuple(sorted(config.client_names[: clients.per_round])),
        dim=1,
        codec=secagg.ModularIntegers(),
        min_cohort=sums.min_cohort,
        graph=secagg.graph.plan_for_counts(
            clients.per_round,
            colluders=corrupt_clients(sums.adversarial_fraction, clients.count),
            dropouts=graph.dropouts,
            malicious_server=sums.server == "malicious",
        ),
    )
    return Cohort(clients=clients.per_round, honest=plan.guaranteed_honest)


def affordable_client_rounds(config: Config, budget: ClientBudget, history: tuple[dp.PrivacyEvent, ...]) -> int:
    """The most rounds, up to those planned, that the client's ledger has room for after `history`."""
    noise, rounds = budget.client_noise, config.training.rounds
    if noise is None:
        return rounds
    privacy = config.privacy

    def fits(steps: int) -> bool:
        events = (*history, noise.event(steps=steps))
        total = dp.compose(events, delta=budget.delta, accountant=privacy.accountant, relation=privacy.relation)
        return total <= budget.epsilon

    return most_fitting(rounds, fits)


def _calibrated(config: Config, dim: int, epsilon: float, steps: int) -> ClientNoise:
    privacy, mechanism = config.privacy, resolve_mechanism(config)
    try:
        multiplier = dp.noise_multiplier(
            epsilon=epsilon, delta=privacy.delta, sample_rate=1.0, steps=steps, accountant=privacy.accountant
        )
        noise = ClientNoise(mechanism=mechanism, count_weight=_count_weight(config, multiplier))
        values = dim + (noise.count_weight > 0)
        if mechanism == "central":
            return _central(noise, multiplier, values, bits=config.secure_sum.bits)
        shares = calibrate(
            family="skellam" if mechanism == "distributed_skellam" else "discrete_gaussian",
            epsilon=epsilon,
            delta=privacy.delta,
            steps=steps,
            cohort=cohort_of(config),
            dim=values,
            bits=config.secure_sum.bits,
            accountant=privacy.accountant,
        )
    except dp.UnreachableBudget as error:
        raise ConfigError(
            f"privacy.epsilon: ε = {epsilon:g} for whole clients cannot be met over {steps} rounds: {error}; or raise "
            "secure_sum.bits"
        ) from error
    return replace(noise, shares=shares)


def _central(noise: ClientNoise, multiplier: float, values: int, *, bits: int) -> ClientNoise:
    """Rounding to the codec's grid happens before the server's noise: its step is part of the sensitivity."""
    step = secagg.FixedPoint(clip=noise.largest_norm, bits=bits).step
    sensitivity = noise.largest_norm + step * math.sqrt(values)
    return replace(noise, central_multiplier=multiplier, central_stddev=multiplier * sensitivity)


def _count_weight(config: Config, multiplier: float) -> float:
    """ω such that the count of short updates is noised with σ_b while the whole keeps z: 1/z² = 1/z_Δ² + 1/(2σ_b)².

    Source: Andrew, Thakkar, McMahan and Ramaswamy 2021 (arXiv 1905.03871), Theorem 1.
    """
    clipping = config.privacy.clipping
    if clipping.scheme == "fixed":
        return 0.0
    if clipping.count_noise == "auto":
        share = min(COUNT_SHARE, (10 * multiplier / config.clients.per_round) ** 2)  # σ_b = cohort / 20, or more
    else:
        share = (multiplier / (2 * clipping.count_noise)) ** 2
    if share >= 1:
        raise ConfigError(
            f"privacy.clipping.count_noise: {clipping.count_noise:g} leaves nothing of the budget to the updates; "
            f'raise it above {multiplier / 2:.3g}, or use "auto"'
        )
    return math.sqrt(share / (1 - share))


def _spends(config: Config, noise: ClientNoise, steps: int) -> float:
    privacy = config.privacy
    return dp.compose(
        (noise.event(steps=steps),), delta=privacy.delta, accountant=privacy.accountant, relation=privacy.relation
    )
