"""Aggregation strategies: one a file, each a function of secure sums."""

from fedpeft_secure.aggregation.base import MixedRanks, Reads, Strategy
from fedpeft_secure.aggregation.choose import choose_strategy
from fedpeft_secure.aggregation.one_module import Combined, combine, combine_module
from fedpeft_secure.aggregation.round_strategy import Received, RoundStrategy
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer, server_optimizer

__all__ = [
    "Combined",
    "MixedRanks",
    "Reads",
    "Received",
    "RoundStrategy",
    "ServerOptimizer",
    "Strategy",
    "choose_strategy",
    "combine",
    "combine_module",
    "server_optimizer",
]
