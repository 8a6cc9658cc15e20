"""Rules between settings under client-level privacy, and what only it has."""

from fedpeft_secure.config import ClientTerms, Config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.protocols import decide_protocol


def check_client_level(config: Config) -> None:
    """Refuses settings that contradict the unit of privacy.

    Raises:
        ConfigError: Names the setting and the remedy.
    """
    if config.privacy.unit == "example":
        _check_example_level(config)
        return
    privacy, (protocol, _) = config.privacy, decide_protocol(config)
    if config.secure_sum.clip != "auto":
        raise ConfigError(
            'secure_sum.clip: whole updates are clipped to privacy.clip_norm, which decides the range; use "auto"'
        )
    if protocol != "masked" and privacy.mechanism != "central":
        raise ConfigError(
            f'secure_sum.protocol: "{protocol}" does not prove how many honest noise shares every sum holds; use '
            '"masked", or trust the server with privacy.mechanism = "central"'
        )
    if privacy.mechanism == "distributed_skellam" and privacy.accountant != "rdp":
        raise ConfigError(
            f'privacy.accountant: "{privacy.accountant}" has no proof for Skellam noise; use "rdp", or '
            'privacy.mechanism = "distributed_discrete_gaussian"'
        )
    if privacy.groups:
        raise ConfigError(
            "privacy.groups: groups of examples have no budgets of their own when whole clients are protected; leave "
            'them away, or use privacy.unit = "example"'
        )
    for client in config.client_names:
        if config.groups_of(client) or config.terms_of(client).model_copy(update={"epsilon": None}) != ClientTerms():
            raise ConfigError(
                f"privacy.per_client: {client} has terms of its own, but noise on the sum of whole clients is one for "
                'all; leave all but its epsilon away, or use privacy.unit = "example"'
            )


def _check_example_level(config: Config) -> None:
    privacy = config.privacy
    if privacy.mechanism != "auto":
        raise ConfigError(
            f'privacy.mechanism: "{privacy.mechanism}" adds noise to sums of whole clients; use unit = "client", or '
            'mechanism = "auto"'
        )
    if privacy.clipping.scheme != "fixed":
        raise ConfigError(
            "privacy.clipping: an adaptive clip norm needs counts over clients, and a client's own counts over its "
            'examples would each cost it privacy; use scheme = "fixed", or privacy.unit = "client"'
        )
