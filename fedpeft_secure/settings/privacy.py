"""`[privacy]`: budgets and how they are counted."""

from typing import Annotated, Literal

from pydantic import Field

from fedpeft_secure.settings.budgets import GroupTerms, PerClient
from fedpeft_secure.settings.types import ClipNorm, Delta, Epsilon, Positive, Table, Unit


class ClippingConfig(Table):
    """`[privacy.clipping]`: whether the clip norm of whole updates is fixed or follows a quantile of their norms."""

    scheme: Literal["fixed", "adaptive"] = "fixed"
    """Whether `privacy.clip_norm` stays, or is where adaptation starts; "adaptive" is for unit "client"."""

    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The share of updates that the adapted norm leaves unclipped."""

    rate: Annotated[float, Field(gt=0, le=2)] = 0.2
    """How fast the norm follows, on a logarithmic scale."""

    count_noise: Annotated[Positive | Literal["auto"], Unit("clients")] = "auto"
    """σ_b, the noise on the count of short updates; "auto" is N/20, or what a twentieth of the budget pays for."""


class PrivacyConfig(Table):
    """`[privacy]`: every client's budget, and how it is counted."""

    unit: Literal["example", "client"] = "example"
    """What is hidden: whether one example was there, or whether one client was, with all that it holds."""

    relation: Literal["add_remove", "replace_one"] = "add_remove"
    """Whether neighbouring data sets differ by a unit more, or by one replaced."""

    epsilon: Epsilon = 8.0
    """Every client's ε over the whole run; "inf" switches privacy off."""

    delta: Delta = 1e-5
    """Every client's δ; public, and well under 1 / (number of examples)."""

    clip_norm: ClipNorm = 1.0
    """The L2 norm to which an example's gradient (unit "client": a whole update) is cut."""

    mechanism: Literal["auto", "distributed_discrete_gaussian", "distributed_skellam", "central"] = "auto"
    """Unit "client": noise in integer shares inside the secure sum, or by a trusted server; "auto" is the first."""

    clipping: ClippingConfig = ClippingConfig()
    """Whether the clip norm of whole updates adapts."""

    accountant: Literal["prv", "rdp", "pld"] = "prv"
    """What turns noise into ε: privacy random variables, Rényi divergences, or privacy loss distributions."""

    ledger: str = "run"
    """"run" for a ledger of this run, or the path of one that all runs on the same data share."""

    noise: Literal["auto", "secure", "simulation"] = "auto"
    """Noise from the operating system's generator, or from the seed, which protects nobody; "auto" is the latter."""

    per_client: PerClient = Field(default_factory=dict)
    """Terms of single clients: a table by name (a number is an ε), the path of a CSV file, or a distribution."""

    groups: dict[str, GroupTerms] = Field(default_factory=dict)
    """Groups of examples with budgets of their own, inside every client, by name."""
