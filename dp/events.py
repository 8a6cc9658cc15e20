"""Privacy events: they describe what was released; accountants evaluate them (`dp.accounting`)."""

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from dp.errors import InvalidParameter

Relation = Literal["add_remove", "replace_one"]
Unit = Literal["example", "client"]
Accountant = Literal["prv", "rdp", "pld"]

RELATIONS: tuple[str, ...] = get_args(Relation)
UNITS: tuple[str, ...] = get_args(Unit)
ACCOUNTANTS: tuple[str, ...] = get_args(Accountant)


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledGaussian:
    """`steps` sums over Poisson samples, each with Gaussian noise of noise_multiplier × clip_norm per coordinate.

    Args:
        noise_multiplier: σ ≥ 0, noise standard deviation over the add/remove sensitivity; 0 means no privacy.
        sample_rate: q in (0, 1], each unit's probability of entering a step; public.
        steps: T ≥ 1, number of such sums, empty samples included.
    Source: Abadi et al. 2016, Algorithm 1; Mironov et al. 2019 (the sampled Gaussian mechanism).
    """

    noise_multiplier: float
    sample_rate: float
    steps: int

    def __post_init__(self) -> None:
        require_noise_multiplier(self.noise_multiplier)
        require_sample_rate(self.sample_rate)
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InvalidParameter(f"steps={self.steps!r} must be an integer of at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class NonPrivate:
    """`steps` releases without noise: whatever they depend on has ε = ∞."""

    steps: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InvalidParameter(f"steps={self.steps!r} must be an integer of at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupedGaussian:
    """`SampledGaussian` in which every group of examples enters with a rate of its own (IDP-SGD, *Sample*).

    Args:
        noise_multiplier: σ > 0, common to all groups, as is the clip norm.
        groups: (name, q) of each group, by name; public.
        steps: T ≥ 1.
    Source: Boenisch et al. 2023 (Have it your way), section 4.1.
    """

    noise_multiplier: float
    groups: tuple[tuple[str, float], ...]
    steps: int

    def __post_init__(self) -> None:
        names = [name for name, _ in self.groups]
        if not names or names != sorted(set(names)):
            raise InvalidParameter(f"groups={self.groups!r} must name every group once, in alphabetical order")
        for name in (*names, None):
            self.seen_by(name)

    def seen_by(self, group: str | None) -> SampledGaussian:
        """The mechanism that examples of `group` go through; the worst one for a name that is not among them."""
        rates = dict(self.groups)
        rate = max(rates.values()) if group is None or group not in rates else rates[group]
        return SampledGaussian(noise_multiplier=self.noise_multiplier, sample_rate=rate, steps=self.steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class _SumOfShares:
    """What sums of integer noise shares have in common, whatever one share's distribution."""

    share_variance: float
    shares: int
    squared_norm: int
    dim: int
    steps: int

    def __post_init__(self) -> None:
        _require_shares(self.share_variance, self.shares, self.squared_norm, self.dim, self.steps)

    @property
    def noise_multiplier(self) -> float:
        """σ/Δ of the sum: standard deviation of all shares together over the L2 sensitivity."""
        return math.sqrt(self.shares * self.share_variance / self.squared_norm)


@dataclass(frozen=True, kw_only=True, slots=True)
class SkellamSum(_SumOfShares):
    """`steps` sums of integer vectors, with the sum of `shares` independent Skellam variates on each coordinate.

    Args:
        share_variance: μ > 0, the variance of one share, in squared integer steps.
        shares: n ≥ 1, shares that nobody but their makers knows and that every accepted sum holds.
        squared_norm: the largest squared L2 norm of one unit's integer vector, 0 when the unit is absent.
        dim: coordinates; the L1 norm is at most min(√dim·L2, L2²), because the coordinates are integers.
        steps: T ≥ 1, number of such sums.
    Source: Agarwal, Kairouz and Liu 2021 (arXiv 2110.04995).
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscreteGaussianSum(_SumOfShares):
    """`steps` sums of integer vectors, with the sum of `shares` independent discrete Gaussians on each coordinate.

    Args:
        share_variance: σ² > 0, the parameter of one share, in squared integer steps.
        shares, squared_norm, dim, steps: as in `SkellamSum`.
    Source: Kairouz, Liu and Steinke 2021 (arXiv 2102.06387).
    """


PrivacyEvent = SampledGaussian | GroupedGaussian | NonPrivate | SkellamSum | DiscreteGaussianSum


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacyBudget:
    """The most that one client may ever spend: ε (or infinity) at a public δ.

    `groups` holds (name, ε) of the groups of examples that have budgets of their own; no example may pass `epsilon`.
    """

    epsilon: float
    delta: float
    groups: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        require_epsilon(self.epsilon)
        require_delta(self.delta)
        for _, epsilon in self.groups:
            require_epsilon(epsilon)


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacySpent:
    """An evaluated guarantee; ε never travels without the rest."""

    epsilon: float
    delta: float
    unit: Unit
    relation: Relation
    accountant: Accountant


def seen_by(events: tuple[PrivacyEvent, ...], group: str | None = None) -> tuple[PrivacyEvent, ...]:
    """What examples of `group` went through; without a name, what those with the highest rates did: a bound for all."""
    return tuple(event.seen_by(group) if isinstance(event, GroupedGaussian) else event for event in events)


def merge(events: tuple[PrivacyEvent, ...]) -> tuple[PrivacyEvent, ...]:
    """Adds up the steps of identical mechanisms, in a canonical order; composition does not depend on order."""
    totals: dict[PrivacyEvent, int] = {}
    for event in events:
        key = replace(event, steps=1)
        totals[key] = totals.get(key, 0) + event.steps
    return tuple(replace(key, steps=steps) for key, steps in sorted(totals.items(), key=lambda item: repr(item[0])))


def to_json(event: PrivacyEvent) -> str:
    """Writes an event canonically; floats survive the round trip exactly."""
    return json.dumps({"kind": type(event).__name__, **asdict(event)}, sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> PrivacyEvent:
    """Reads what `to_json` wrote.

    Raises: InvalidParameter on anything else.
    """
    try:
        fields = json.loads(text)
        kind = fields.pop("kind")
        classes: dict[str, type[PrivacyEvent]] = {
            cls.__name__: cls for cls in (SampledGaussian, GroupedGaussian, NonPrivate, SkellamSum, DiscreteGaussianSum)
        }
        if kind == "GroupedGaussian":
            fields["groups"] = tuple((str(name), rate) for name, rate in fields["groups"])
        return classes[kind](**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidParameter(
            f"not a privacy event of this version: {text[:80]!r}; read it with the version that wrote it"
        ) from error


def require_noise_multiplier(value: float) -> None:
    """Raises InvalidParameter unless 0 ≤ value < ∞."""
    if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
        raise InvalidParameter(f"noise_multiplier={value!r} must be a finite number of at least 0")


def require_sample_rate(value: float) -> None:
    """Raises InvalidParameter unless 0 < value ≤ 1."""
    if not (isinstance(value, int | float) and 0 < value <= 1):
        raise InvalidParameter(f"sample_rate={value!r} must be above 0 and at most 1")


def require_delta(value: float) -> None:
    """Raises InvalidParameter unless 0 < value < 1."""
    if not (isinstance(value, int | float) and 0 < value < 1):
        raise InvalidParameter(f"delta={value!r} must be above 0 and below 1; take well under 1 / (number of examples)")


def require_epsilon(value: float) -> None:
    """Raises InvalidParameter unless value > 0; infinity is allowed."""
    if not (isinstance(value, int | float) and value > 0):
        raise InvalidParameter(f"epsilon={value!r} must be above 0, or infinity for no privacy")


def _require_shares(share_variance: float, shares: int, squared_norm: int, dim: int, steps: int) -> None:
    if not (isinstance(share_variance, int | float) and math.isfinite(share_variance) and share_variance > 0):
        raise InvalidParameter(f"share_variance={share_variance!r} must be positive and finite")
    for name, value in (("shares", shares), ("squared_norm", squared_norm), ("dim", dim), ("steps", steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidParameter(f"{name}={value!r} must be an integer of at least 1")
