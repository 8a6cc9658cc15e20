"""Turns a configuration that names files, distributions and devices into one that says what everybody does."""

from fedpeft_secure import per_client
from fedpeft_secure.config import Config


def resolve(config: Config) -> Config:
    """The configuration with every client's budget and, under adaptive allocation, the module that is dealt.

    Raises:
        InputError: Names file, setting and remedy.
    """
    config = per_client.resolve(config)
    if config.allocation.strategy != "adaptive":
        return config
    # Imported here: it reads the model's configuration file, with all of transformers.
    from fedpeft_secure.allocation.adaptive import adapt
    from fedpeft_secure.allocation.device_terms import read_profiles
    from fedpeft_secure.allocation.importance_file import read_importance

    return adapt(read_importance(read_profiles(config)))
