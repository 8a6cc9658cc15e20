"""`[clients]`: the cohort."""

from typing import Annotated

from pydantic import Field

from fedpeft_secure.settings.types import Fraction, Table, Unit


class ClientsConfig(Table):
    """`[clients]`: how many there are, how many take part in a round, how many vanish in simulation."""

    count: Annotated[int, Field(ge=1, le=100_000), Unit("clients")] = 8
    """How many clients there are."""

    per_round: Annotated[int, Field(ge=1, le=100_000), Unit("clients")] = 8
    """How many of them take part in a round."""

    over_selection: Fraction = 0.0
    """The share by which more are asked: the round closes once `per_round` have uploaded."""

    simulated_dropout: Fraction = 0.0
    """The probability that a client vanishes in a round, before a random message of it; for experiments."""

    workers: Annotated[int, Field(ge=1, le=256), Unit("processes")] = 1
    """How many processes of this machine train simulated clients side by side; each holds a model of its own."""
