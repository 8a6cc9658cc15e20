"""Finds a strategy by name, by "package.module:Name", or the best one for the configuration ("auto")."""

import importlib
from typing import cast

from fedpeft_secure.aggregation.adalora import AdaLoRA
from fedpeft_secure.aggregation.base import Reads, Strategy
from fedpeft_secure.aggregation.fedit import FedIT
from fedpeft_secure.aggregation.fedsvd import FedSVD
from fedpeft_secure.aggregation.ffa import FFA
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError

STRATEGIES: dict[str, type] = {"fedit": FedIT, "ffa": FFA, "fedsvd": FedSVD}

ANY_METHOD = frozenset({"fedit"})
"""The strategies that take an adapter's tensors as they are; the others need the factors of a low-rank method."""


def choose_strategy(config: Config) -> tuple[Strategy, str]:
    """The strategy of `[aggregation]` and, in words, why it is this one.

    Raises:
        ConfigError: If there is no such strategy, or it needs individual updates under a secure sum, or factors that
            the PEFT method has not.
    """
    name, reason = config.aggregation.strategy, "named in the configuration"
    if name == "auto":
        name, reason = _best_for(config)
    if name == "adalora":
        return cast(Strategy, AdaLoRA.planned(config)), reason
    strategy = _custom(name) if ":" in name else _built_in(name)
    if name in STRATEGIES and name not in ANY_METHOD and not config.peft.low_rank:
        raise ConfigError(
            f"aggregation.strategy: {name!r} needs the factors of LoRA, which peft.method = {config.peft.method!r} has "
            'not; use "fedit" or "auto"'
        )
    if strategy.reads is Reads.INDIVIDUAL and config.secure_sum.protocol != "plain":
        raise ConfigError(
            f"aggregation.strategy: {name!r} needs individual updates, which the secure sum hides; "
            'choose another strategy or secure_sum.protocol = "plain"'
        )
    return strategy, reason


def _best_for(config: Config) -> tuple[str, str]:
    if config.peft.method == "adalora":
        return "adalora", "singular triplets are scored and pruned by the server, from the sums alone"
    if not config.peft.low_rank:
        return "fedit", f"{config.peft.method} has no factors, and the mean of its tensors is exact"
    if any(config.is_private(client) for client in config.client_names):
        return "fedsvd", "under DP: noise enters B only, and re-orthogonalising between rounds costs no privacy"
    return "fedit", "without DP: both factors learn, and at few local steps the mean of factors is nearly exact"


def _built_in(name: str) -> Strategy:
    if name not in STRATEGIES:
        raise ConfigError(
            f"aggregation.strategy: no strategy {name!r}; there are auto, {', '.join(STRATEGIES)}, "
            'or "package.module:Name" for your own'
        )
    strategy: Strategy = STRATEGIES[name]()
    return strategy


def _custom(name: str) -> Strategy:
    module, _, attribute = name.partition(":")
    try:
        strategy: Strategy = getattr(importlib.import_module(module), attribute)()
        missing = {"name", "reads", "trainable", "encode", "apply"} - set(dir(strategy))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"aggregation.strategy: cannot use {name!r} ({error}); name a class as package.module:Name that is made "
            "without arguments"
        ) from error
    if missing:
        raise ConfigError(f"aggregation.strategy: cannot use {name!r}: it has no {', '.join(sorted(missing))}")
    return strategy
