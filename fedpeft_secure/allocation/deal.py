"""Deals every client its allotment, from the configuration alone."""

from fedpeft_secure.allocation.allotment import Allotment
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError


def deal_allotments(config: Config) -> tuple[Allotment, ...]:
    """The allotment of every client, in order.

    Under "adaptive" devices decide. Else `allocation.ranks` is a list that is dealt to the clients in turn, or a table
    by client; whoever is not in it has the rank of the module.

    Raises:
        ConfigError: If a rank is above that of the module, or the table names nobody.
    """
    if config.allocation.strategy == "adaptive":
        # Imported here: plans are made of allotments, and what decides them needs budgets, which need plans.
        from fedpeft_secure.allocation.adaptive import adaptive_allotments

        return adaptive_allotments(config)
    ranks, largest = config.allocation.ranks, config.peft.rank
    given = list(ranks.values()) if isinstance(ranks, dict) else list(ranks)
    if given and not config.peft.low_rank:
        raise ConfigError(
            f"allocation.ranks: peft.method = {config.peft.method!r} has no factors, and so no ranks; leave it away"
        )
    if max(given, default=0) > largest:
        raise ConfigError(
            f"allocation.ranks: {max(given)} is above peft.rank = {largest}; lower it, or raise peft.rank"
        )
    if isinstance(ranks, dict) and (unknown := sorted(set(ranks) - set(config.client_names))):
        raise ConfigError(
            f"allocation.ranks: no client {unknown[0]!r}; names run from client-1 to client-{config.clients.count}"
        )
    return tuple(
        Allotment(client=client, rank=_rank(config, index, client), local_steps=config.training.local_steps)
        for index, client in enumerate(config.client_names)
    )


def _rank(config: Config, index: int, client: str) -> int:
    """0 stands for the whole module, so that a plan of equal ranks says nothing of them."""
    ranks, largest = config.allocation.ranks, config.peft.rank
    table = ranks if isinstance(ranks, dict) else {client: ranks[index % len(ranks)]} if ranks else {}
    rank = table.get(client, largest)
    return 0 if rank == largest else rank
