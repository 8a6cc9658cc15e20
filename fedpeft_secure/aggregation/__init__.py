"""Aggregation strategies: one a file, each a function of a secure sum."""

from fedpeft_secure.aggregation.base import Reads, Strategy
from fedpeft_secure.aggregation.choose import choose_strategy
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer, server_optimizer

__all__ = ["Reads", "ServerOptimizer", "Strategy", "choose_strategy", "server_optimizer"]
