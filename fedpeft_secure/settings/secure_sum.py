"""`[aggregation]` and `[secure_sum]`: what is summed up, and what hides the summands."""

from typing import Annotated, Literal

from pydantic import Field

from fedpeft_secure.settings.types import Fraction, Positive, Table, Unit


class AggregationConfig(Table):
    """`[aggregation]`: what the server does with a sum of updates."""

    strategy: str = "auto"
    """A strategy of [aggregation.md](aggregation.md), or your own as `package.module:Name`; "auto" says why."""

    weighing: Literal["examples", "uniform"] = "examples"
    """Whether clients count by their examples, or all the same, as they do under DP in any case."""

    sent_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The share of the trained values that a round trains and sends, the same ones for all clients."""

    sent_values: Literal["random", "last_sum"] = "random"
    """Which, below a share of 1: drawn for each round, or by half those that the last sum of them changed most."""

    groups: Annotated[int, Field(ge=1, le=1024), Unit("groups")] = 1
    """Into how many random groups a round's clients are split, each with a secure sum of its own, for `robust`."""

    robust: Literal["off", "median", "trimmed_mean"] = "off"
    """The mean over the groups that a few lying clients cannot move far; see [aggregation.md](aggregation.md)."""

    trimmed_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.25
    """The share of the groups that "trimmed_mean" leaves out at either end; one group at least."""

    downloads: Literal["full", "deltas"] = "full"
    """The whole adapter, or what changed since the start of the run, in 16 bits unless `secure_sum.bits` is finer."""


class SecureSumConfig(Table):
    """`[secure_sum]`: the protocol that hides the clients' updates, and what it must survive."""

    protocol: Literal["auto", "plain", "masked", "helper", "ckks", "bfv"] = "masked"
    """No hiding, pairwise masks, or with a key holder: masks or homomorphic encryption; "auto" chooses and says why."""

    server: Literal["malicious", "curious"] = "malicious"
    """What the server may do: deviate from the protocol, or only read."""

    clients_stay: bool = True
    """Whether clients are there for a second message; without, "auto" takes a protocol of one."""

    bits: Annotated[int, Field(ge=4, le=32), Unit("bits")] = 16
    """The precision of one value on the wire, before room for the sum."""

    clip: Positive | Literal["auto"] = "auto"
    """The range of one value on the wire; "auto" follows from the training's public settings."""

    min_cohort: Annotated[int, Field(ge=2), Unit("clients")] = 3
    """The fewest clients whose sum may be opened; clients check it themselves."""

    adversarial_fraction: Fraction = 0.1
    """The share of all clients that may be corrupt and collude with the server."""

    dropout_fraction: Fraction = 0.1
    """The share of a cohort that may vanish during a round."""
