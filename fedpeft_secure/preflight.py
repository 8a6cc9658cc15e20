"""Rules between settings: what would be wrong, unsafe or is not there yet is refused before anything runs."""

from fedpeft_secure.aggregation.choose import choose_strategy
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.protocols import check_protocol


def check(config: Config) -> None:
    """Refuses a configuration that cannot run as it says.

    Raises:
        ConfigError: Names the setting and the remedy.
    """
    _check_cohort(config)
    _check_available(config)
    _check_privacy(config)
    check_protocol(config)
    choose_strategy(config)


def _check_cohort(config: Config) -> None:
    clients, secure_sum = config.clients, config.secure_sum
    if clients.per_round > clients.count:
        raise ConfigError(
            f"clients.per_round: {clients.per_round} of {clients.count} clients cannot take part; "
            "lower it or raise clients.count"
        )
    if secure_sum.min_cohort > clients.per_round:
        raise ConfigError(
            f"secure_sum.min_cohort: a cohort of {clients.per_round} (clients.per_round) never has "
            f"{secure_sum.min_cohort} survivors; lower it"
        )


def _check_privacy(config: Config) -> None:
    privacy = config.privacy
    unknown = sorted(set(privacy.per_client) - set(config.client_names))
    if unknown:
        raise ConfigError(
            f"privacy.per_client: no client {unknown[0]!r}; names run from client-1 to client-{config.clients.count}"
        )
    finite = [config.epsilon_of(client) != float("inf") for client in config.client_names]
    if any(finite) and not all(finite):
        raise ConfigError(
            "privacy.per_client: private and non-private clients cannot share a sum, since only the private ones clip; "
            'give every client a finite budget or set privacy.epsilon = "inf" for all'
        )


def _check_available(config: Config) -> None:
    """What the configuration names already, and this version cannot do yet."""
    if config.privacy.unit == "client":
        raise ConfigError('privacy.unit: this version guarantees privacy for examples only; use unit = "example"')
    if config.privacy.relation == "replace_one":
        raise ConfigError('privacy.relation: this version trains under add/remove only; use relation = "add_remove"')
    if config.allocation.strategy != "uniform":
        raise ConfigError('allocation.strategy: "adaptive" is not in this version; use "uniform"')
