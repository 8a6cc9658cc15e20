"""Which secure sum a run uses, why, and which settings it cannot work with."""

import importlib.util

import secagg
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.secure_sums import corrupt_clients


def decide_protocol(config: Config) -> tuple[str, str]:
    """The protocol of a run and the reason for it.

    "auto" takes masks where the clients can stay for the unmasking round and are enough for a graph, since masks need
    no third party; else the helper. It never takes CKKS or BFV: they ask for more trust, at several times the bytes.

    Raises:
        ConfigError: If "auto" finds no protocol.
    """
    sums = config.secure_sum
    if sums.protocol != "auto":
        return sums.protocol, "as configured"
    if not sums.clients_stay:
        why = "clients speak once (secure_sum.clients_stay = false)"
    else:
        try:
            check_graph(config)
        except ConfigError as error:
            why = f"masks do not work for this cohort: {error}"
        else:
            return "masked", (
                f"{config.clients.per_round} clients that stay for the unmasking round bear a {sums.server} server "
                "without a third party"
            )
    check_corrupt(config)
    return "helper", (
        f"{why}; one message, exact, holds against a {sums.server} server, but server and key holder must not collude"
    )


def with_decided_protocol(config: Config) -> tuple[Config, str]:
    """The configuration with "auto" replaced, and the reason."""
    protocol, reason = decide_protocol(config)
    return config.model_copy(update={"secure_sum": config.secure_sum.model_copy(update={"protocol": protocol})}), reason


def check_protocol(config: Config) -> None:
    """Refuses a secure sum that cannot work as configured.

    Raises:
        ConfigError: Names the setting and the remedy.
    """
    protocol, _ = decide_protocol(config)
    if protocol == "masked":
        check_graph(config)
    if protocol in secagg.ONE_MESSAGE:
        check_corrupt(config)
    if protocol in ("ckks", "bfv"):
        _check_homomorphic(config, protocol)


def too_few(config: Config, cohort: int) -> str:
    """Why a cohort of so many clients cannot be summed by the run's protocol, or empty."""
    smallest, groups = smallest_sum(config, cohort), config.aggregation.groups
    if smallest < config.secure_sum.min_cohort:
        whose = f"{cohort} clients" if groups == 1 else f"the {smallest} of a group of {cohort} clients in {groups}"
        return f"{whose} are fewer than secure_sum.min_cohort = {config.secure_sum.min_cohort}"
    return _graphs_refusal(config, cohort) if decide_protocol(config)[0] == "masked" else ""


def smallest_sum(config: Config, cohort: int) -> int:
    """The fewest clients of any secure sum over a cohort of so many, before anybody vanishes."""
    return sum_sizes(config, cohort)[0]


def sum_sizes(config: Config, cohort: int) -> tuple[int, ...]:
    """How many clients the secure sums over a cohort of so many have, the smallest first."""
    smallest, larger = divmod(cohort, config.aggregation.groups)
    return (smallest, smallest + 1) if larger else (smallest,)


def check_graph(config: Config) -> None:
    """Refuses a cohort that a masked sum cannot hide.

    Raises:
        ConfigError: Names the smallest cohort that works.
    """
    groups = config.aggregation.groups
    if refusal := _graphs_refusal(config, config.clients.per_round):
        fewer = "" if groups == 1 else f" in each of the {groups} aggregation.groups, use fewer groups"
        raise ConfigError(
            f"clients.per_round: with the fractions of [secure_sum], {refusal}; raise clients.per_round{fewer}, or use "
            'secure_sum.protocol = "helper" with a key holder'
        )


def _graphs_refusal(config: Config, cohort: int) -> str:
    """Why some sum over a cohort cannot be masked, or empty: a graph of n may work where one of n + 1 does not, since
    the dropouts to bear are rounded up."""
    return next((refusal for size in sum_sizes(config, cohort) if (refusal := _graph_refusal(config, size))), "")


def _graph_refusal(config: Config, cohort: int) -> str:
    """A masked sum needs a cohort that bears the assumed corrupt and vanishing clients."""
    clients, sums = config.clients, config.secure_sum
    malicious = sums.server == "malicious"
    try:
        graph = secagg.plan_graph(
            cohort,
            adversarial_fraction=sums.adversarial_fraction,
            dropout_fraction=sums.dropout_fraction,
            malicious_server=malicious,
        )
        secagg.graph.plan_for_counts(
            cohort,
            colluders=corrupt_clients(sums.adversarial_fraction, clients.count),
            dropouts=graph.dropouts,
            malicious_server=malicious,
        )
    except secagg.PlanError as error:
        return str(error)
    return ""


def check_corrupt(config: Config) -> None:
    """The minimum cohort alone keeps a sum of few honest clients shut, where there is no graph or it hides less.

    A graph hides whole vectors; of clients that fill different coordinates, each must have enough.
    """
    corrupt = corrupt_clients(config.secure_sum.adversarial_fraction, config.clients.count)
    if config.secure_sum.min_cohort < corrupt + 2:
        raise ConfigError(
            f"secure_sum.min_cohort: {config.secure_sum.min_cohort} leaves a sum of one beside {corrupt} corrupt "
            f"clients (secure_sum.adversarial_fraction of clients.count); raise it to {corrupt + 2}"
        )


def _check_homomorphic(config: Config, protocol: str) -> None:
    sums = config.secure_sum
    if sums.server != "curious":
        raise ConfigError(
            f"secure_sum.protocol: under {protocol!r} a server that lies recovers the round's key with one forged "
            'ciphertext; set secure_sum.server = "curious", or use "masked" or "helper"'
        )
    if importlib.util.find_spec("tenseal") is None:
        raise ConfigError(
            f'secure_sum.protocol: {protocol!r} needs TenSEAL; `pip install fedpeft-secure[he]`, or use "helper"'
        )
    try:
        secagg.he_parameters_for(protocol, count=1, clients=config.clients.per_round, bits=sums.bits)
    except secagg.PlanError as error:
        raise ConfigError(f"secure_sum.bits: {error}") from error
