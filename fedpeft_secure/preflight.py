"""Rules between settings: what would be wrong, unsafe or is not there yet is refused before anything runs."""

import math

from fedpeft_secure.aggregation.choose import choose_strategy
from fedpeft_secure.aggregation.robust import FEWEST_GROUPS
from fedpeft_secure.aggregation.rules import fills_parts
from fedpeft_secure.allocation.participants import extra_clients
from fedpeft_secure.client_level_rules import check_client_level
from fedpeft_secure.config import Config, MeasuredImportance
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.group_rules import check_groups
from fedpeft_secure.protocols import check_corrupt, check_protocol, decide_protocol, smallest_sum


def check(config: Config) -> None:
    """Refuses a configuration that cannot run as it says.

    Raises:
        ConfigError: Names the setting and the remedy.
    """
    _check_cohort(config)
    _check_available(config)
    _check_training(config)
    _check_method(config)
    _check_privacy(config)
    check_protocol(config)
    strategy, _ = choose_strategy(config)
    if decide_protocol(config)[0] == "masked" and fills_parts(config, strategy):
        check_corrupt(config)
    check_groups(config, strategy)


def _check_cohort(config: Config) -> None:
    clients, secure_sum = config.clients, config.secure_sum
    if clients.per_round > clients.count:
        raise ConfigError(
            f"clients.per_round: {clients.per_round} of {clients.count} clients cannot take part; "
            "lower it or raise clients.count"
        )
    if clients.per_round + extra_clients(config) > clients.count:
        raise ConfigError(
            f"clients.over_selection: {clients.per_round + extra_clients(config)} of {clients.count} clients would be "
            "asked; lower it or clients.per_round"
        )
    if extra_clients(config) > secure_sum.dropout_fraction * (clients.per_round + extra_clients(config)):
        raise ConfigError(
            f"clients.over_selection: {extra_clients(config)} clients would be cut off, more than the sum bears to "
            "lose; lower it or raise secure_sum.dropout_fraction"
        )
    smallest, groups = smallest_sum(config, clients.per_round), config.aggregation.groups
    if secure_sum.min_cohort > smallest and groups > 1:
        raise ConfigError(
            f"aggregation.groups: {clients.per_round} clients (clients.per_round) in {groups} groups leave {smallest} "
            f"in the smallest, fewer than secure_sum.min_cohort = {secure_sum.min_cohort}; raise clients.per_round to "
            f"{groups * secure_sum.min_cohort} or more, or {_fewer_groups(clients.per_round // secure_sum.min_cohort)}"
        )
    if secure_sum.min_cohort > clients.per_round:
        raise ConfigError(
            f"secure_sum.min_cohort: a cohort of {clients.per_round} (clients.per_round) never has "
            f"{secure_sum.min_cohort} survivors; lower it"
        )


def _fewer_groups(most: int) -> str:
    """The remedy that keeps the clients: no robust mean is one of fewer groups than it needs."""
    return f"use at most {most} groups" if most >= FEWEST_GROUPS else 'set groups = 1 and aggregation.robust = "off"'


def _check_training(config: Config) -> None:
    training = config.training
    if training.optimizer == "sgd" and training.proximal * training.learning_rate > 1:
        raise ConfigError(
            f"training.proximal: {training.proximal:g} times training.learning_rate = {training.learning_rate:g} is "
            "above 1, where the pull back overshoots; lower one of the two"
        )


def _check_method(config: Config) -> None:
    peft = config.peft
    if peft.layers and peft.method in ("prefix", "prompt"):
        raise ConfigError(f"peft.layers: {peft.method} reaches every layer; use 0, or another peft.method")
    if twice := [target for target in peft.targets if peft.targets.count(target) > 1]:
        raise ConfigError(f"peft.targets: {twice[0]!r} is there twice; name it once")


def _check_privacy(config: Config) -> None:
    privacy = config.privacy
    if not isinstance(privacy.per_client, dict):
        raise ConfigError("privacy.per_client: a file or distribution; load the configuration by load_config")
    unknown = sorted(set(privacy.per_client) - set(config.client_names))
    if unknown:
        raise ConfigError(
            f"privacy.per_client: no client {unknown[0]!r}; names run from client-1 to client-{config.clients.count}"
        )
    private = [config.is_private(client) for client in config.client_names]
    if any(private) and not all(private):
        raise ConfigError(
            "privacy.per_client: private and non-private clients cannot share a sum, since only the private ones clip "
            "and weigh the same whatever they hold; "
            'give every client a finite budget or set privacy.epsilon = "inf" for all'
        )
    for client in config.client_names:
        _check_terms(config, client)


def _check_terms(config: Config, client: str) -> None:
    terms, groups = config.terms_of(client), config.groups_of(client)
    name = f"privacy.per_client: {client}"
    if terms.noise_multiplier is not None and terms.epsilon == float("inf"):
        raise ConfigError(f'{name} has a noise_multiplier and epsilon = "inf"; leave one of the two away')
    if not groups:
        if config.data.budget_group:
            raise ConfigError(
                f"data.budget_group: {client} has no groups; name them and their budgets in privacy.groups"
            )
        return
    if terms.epsilon is not None or terms.noise_multiplier is not None:
        raise ConfigError(
            f"{name} has groups with budgets of their own, which decide its noise; leave its epsilon and "
            "noise_multiplier away"
        )
    if not math.isclose(total := sum(group.share for group in groups.values()), 1, abs_tol=1e-6):
        raise ConfigError(f"privacy.groups: the shares of {client}'s groups add up to {total:g}; let them add up to 1")


def _check_available(config: Config) -> None:
    """What the configuration names already, and this version cannot do yet."""
    check_client_level(config)
    if config.privacy.relation == "replace_one":
        raise ConfigError('privacy.relation: this version trains under add/remove only; use relation = "add_remove"')
    _check_allocation(config)


def _check_allocation(config: Config) -> None:
    """Facts about devices say nothing where nothing asks for them."""
    allocation = config.allocation
    if allocation.strategy == "uniform" and (allocation.devices or math.isfinite(allocation.round_seconds)):
        raise ConfigError(
            'allocation.devices: nothing looks at devices under strategy = "uniform"; use "adaptive", or leave devices '
            "and round_seconds away"
        )
    if allocation.strategy == "uniform" and allocation.importance:
        raise ConfigError(
            'allocation.importance: nothing looks at it under strategy = "uniform"; use "adaptive", or leave it away'
        )
    _check_importance(config)


def _check_importance(config: Config) -> None:
    """What was measured on the clients' data must be in the budgets of whoever has one."""
    found = config.allocation.importance
    if not isinstance(found, MeasuredImportance) or not any(map(config.is_private, config.client_names)):
        return
    if not found.private:
        raise ConfigError(
            "allocation.importance: measured without noise, which no budget covers; measure again with the run's "
            "privacy.epsilon"
        )
    if config.privacy.noise == "secure" and found.noise != "secure":
        raise ConfigError(
            "allocation.importance: its noise came from a seed, and who has that takes it away, while this run's is "
            'secret; measure again with privacy.noise = "secure"'
        )
    if config.privacy.ledger == "run":
        raise ConfigError(
            "allocation.importance: the clients' ledger was charged for it, and this run begins a new one; name that "
            "ledger in privacy.ledger"
        )
