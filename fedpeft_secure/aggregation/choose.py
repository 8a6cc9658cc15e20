"""Finds a strategy by name, by "package.module:Name", or the best one for the configuration ("auto")."""

import importlib
from collections.abc import Callable, Mapping
from typing import Final

from fedpeft_secure.adapters import Role
from fedpeft_secure.aggregation.adalora import AdaLoRA
from fedpeft_secure.aggregation.base import Reads, Strategy
from fedpeft_secure.aggregation.fed_sb import CORES, FedSB, check_cores
from fedpeft_secure.aggregation.fedask import FedASK
from fedpeft_secure.aggregation.fedex import FedEx
from fedpeft_secure.aggregation.fedit import FedIT
from fedpeft_secure.aggregation.fedsvd import FedSVD
from fedpeft_secure.aggregation.ffa import FFA
from fedpeft_secure.aggregation.flexlora import FlexLoRA
from fedpeft_secure.aggregation.hetlora import HetLoRA
from fedpeft_secure.aggregation.lora_fair import LoRAFair
from fedpeft_secure.aggregation.on_factors import OnFactors
from fedpeft_secure.aggregation.on_personal import OnPersonal
from fedpeft_secure.aggregation.on_slots import OnSlots
from fedpeft_secure.aggregation.on_stacks import OnStacks
from fedpeft_secure.aggregation.on_tensors import OnTensors, RoLoRAJob
from fedpeft_secure.aggregation.product_sketch import ProductSketch
from fedpeft_secure.aggregation.round_strategy import RoundStrategy
from fedpeft_secure.aggregation.rules import check_strategy, client_ranks, controlled, emptiest_slot, sparse
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.suggestions import did_you_mean

STRATEGIES: Final[Mapping[str, Callable[[], RoundStrategy]]] = {
    "fedit": lambda: OnTensors(strategy=FedIT()),
    "ffa": lambda: OnTensors(strategy=FFA()),
    "fedsvd": lambda: OnTensors(strategy=FedSVD()),
    "rolora": RoLoRAJob,
    "fed_sb": lambda: OnTensors(strategy=FedSB()),
    "hetlora": lambda: OnFactors(strategy=HetLoRA()),
    "flexlora": lambda: OnFactors(strategy=FlexLoRA()),
    "fedex": lambda: OnFactors(strategy=FedEx()),
    "lora_fair": lambda: OnFactors(strategy=LoRAFair()),
    "fedask": lambda: OnFactors(strategy=FedASK()),
    "product_sketch": lambda: OnFactors(strategy=ProductSketch()),
    "flora": OnStacks,
    "rank_slots": OnSlots,
    "fedsa": lambda: OnPersonal(name="fedsa", kept=Role.LORA_B),
    "fedper": lambda: OnPersonal(name="fedper", kept=Role.HEAD),
}

ANY_METHOD = frozenset({"fedit", "fedper"})
"""The strategies that take an adapter's tensors as they are; the others need the factors of a low-rank method."""


def choose_strategy(config: Config) -> tuple[RoundStrategy, str]:
    """The strategy of `[aggregation]` and, in words, why it is this one.

    Raises:
        ConfigError: If there is no such strategy, or it cannot be combined with another setting.
    """
    name, reason = config.aggregation.strategy, "named in the configuration"
    if name == "auto":
        name, reason = _best_for(config)
    strategy = OnTensors(strategy=_custom(name)) if ":" in name else _built_in(name, config)
    if name == "fed_sb":
        check_cores(config)
    elif name in STRATEGIES and name not in ANY_METHOD and not config.peft.low_rank:
        raise ConfigError(
            f"aggregation.strategy: {name!r} needs the factors of LoRA, which peft.method = {config.peft.method!r} has "
            'not; use "fedit" or "auto"'
        )
    check_strategy(config, strategy)
    if config.training.control_variates:
        return controlled(config, strategy), reason
    return (sparse(config, strategy) if config.aggregation.sent_share < 1 else strategy), reason


def _best_for(config: Config) -> tuple[str, str]:
    """The strategy for "auto", and why."""
    if config.peft.method == "adalora":
        return "adalora", "singular triplets are scored and pruned by the server, from the sums alone"
    if config.peft.method == CORES:
        return "fed_sb", "cores between fixed factors are all that is sent, and their mean is exact"
    if not config.peft.low_rank:
        return "fedit", f"{config.peft.method} has no factors, and the mean of its tensors is exact"
    ranks = client_ranks(config)
    mixed, private = min(ranks) < config.peft.rank, any(config.is_private(name) for name in config.client_names)
    filled = max(ranks) == config.peft.rank and emptiest_slot(config) >= config.secure_sum.min_cohort
    if private and (filled or not mixed):
        return "fedsvd", "under DP: noise enters B only, and re-orthogonalising between rounds costs no privacy"
    if mixed:
        return "rank_slots", "clients have different ranks: every slot is averaged over those who trained it"
    return "fedit", "without DP: both factors learn, and at few local steps the mean of factors is nearly exact"


def _built_in(name: str, config: Config) -> RoundStrategy:
    if name == "adalora":
        return OnTensors(strategy=AdaLoRA.planned(config))
    if name not in STRATEGIES:
        raise ConfigError(
            f"aggregation.strategy: no strategy {name!r}; there are auto, {', '.join(STRATEGIES)}, "
            f'or "package.module:Name" for your own{did_you_mean(name, ("auto", *STRATEGIES))}'
        )
    return STRATEGIES[name]()


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
    if strategy.reads is Reads.TWO_SUMS:
        raise ConfigError(
            f"aggregation.strategy: cannot use {name!r}: it reads two sums, and your own strategy is given one mean; "
            "let it read Reads.SUM"
        )
    return strategy
