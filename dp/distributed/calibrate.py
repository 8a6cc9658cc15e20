"""From a budget to the integer scale and the noise share of every client: public, the same for all of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from dp.accounting import MAX_NOISE_MULTIPLIER, compose, noise_multiplier
from dp.distributed.hadamard import largest_block
from dp.distributed.rounding import squared_norm_bound
from dp.errors import InvalidParameter, UnreachableBudget
from dp.events import Accountant, DiscreteGaussianSum, SkellamSum

NoiseFamily = Literal["skellam", "discrete_gaussian"]
NOISE_FAMILIES: tuple[str, ...] = get_args(NoiseFamily)

WRAP_DEVIATIONS = 5.0
"""k: the modulus leaves this many standard deviations of a coordinate of the sum: P[wrap] ≤ 5.8e-7 each."""

_FINEST = 50.0  # c ≤ 50·√d: finer, rounding adds less than d/4c² = 0.01 % to the noise
_SLACKS = (1.0, 1.0005, 1.002, 1.01, 1.03, 1.1, 1.3, 2.0, 4.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cohort:
    """Who adds noise: `clients` take part, of whom any accepted sum holds `honest` honest ones or more.

    Args: clients: n ≥ honest. honest: the guaranteed honest survivors; the shares of these alone must suffice.
    """

    clients: int
    honest: int

    def __post_init__(self) -> None:
        if not 1 <= self.honest <= self.clients:
            raise InvalidParameter(
                f"honest={self.honest} must be 1…{self.clients}, the clients of a cohort; noise cannot be left to more"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SharePlan:
    """What every client does to its clipped vector, in units of the clip norm; public.

    Args:
        family: the distribution of a share.
        cohort: whom the noise is calibrated to.
        dim: coordinates of the vector that is rotated, rounded and summed.
        bits: the sum is taken modulo 2^bits.
        scale: c, integer steps in one clip norm.
        squared_norm: largest squared L2 norm of a rounded vector.
        share_variance: of one share, in squared steps.
    """

    family: NoiseFamily
    cohort: Cohort
    dim: int
    bits: int
    scale: float
    squared_norm: int
    share_variance: float

    def event(self, *, steps: int, shares: int | None = None) -> SkellamSum | DiscreteGaussianSum:
        """What `steps` sums reveal of one client with `shares` unknown shares in each; None: those of the honest."""
        kind = SkellamSum if self.family == "skellam" else DiscreteGaussianSum
        return kind(
            share_variance=self.share_variance,
            shares=self.cohort.honest if shares is None else shares,
            squared_norm=self.squared_norm,
            dim=self.dim,
            steps=steps,
        )

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the guaranteed noise on a coordinate, over the clip norm (not the rounded norm)."""
        return math.sqrt(self.cohort.honest * self.share_variance) / self.scale

    @property
    def wrap_deviations(self) -> float:
        """How many standard deviations of a coordinate of the sum fit into half the modulus, all clients agreeing."""
        return math.ldexp(1.0, self.bits - 1) / sum_deviation(self.cohort, self.dim, self.scale, self.share_variance)

    @property
    def wrap_probability(self) -> float:
        """A sub-Gaussian bound on the probability that one coordinate of the sum of all clients wraps."""
        return min(1.0, 2 * math.exp(-(self.wrap_deviations**2) / 2))


def sum_deviation(cohort: Cohort, dim: int, scale: float, share_variance: float) -> float:
    """Standard deviation of a coordinate of the sum: n equal vectors of norm `scale`, rounding, all shares."""
    signal = (cohort.clients * scale) ** 2 / largest_block(dim)
    return math.sqrt(signal + cohort.clients / 4 + cohort.clients * share_variance)


def calibrate(
    *,
    family: NoiseFamily,
    epsilon: float,
    delta: float,
    steps: int,
    cohort: Cohort,
    dim: int,
    bits: int,
    accountant: Accountant = "prv",
) -> SharePlan:
    """The finest scale that the modulus holds, and the smallest share that keeps `steps` sums within `epsilon`.

    Guarantee: the shares of `cohort.honest` clients alone make `steps` sums (ε, δ)-DP for one client (its vector is
        there or is zero), whatever the other clients add. Wrapping modulo 2^bits is post-processing.
    Assumes: every accepted sum holds that many honest shares; each vector is clipped to norm 1 before it is scaled.
    Raises: InvalidParameter; UnsupportedAccounting; UnreachableBudget when `bits` cannot hold the noise.
    """
    if family not in NOISE_FAMILIES:
        raise InvalidParameter(f"family={family!r} is unknown; use one of {', '.join(NOISE_FAMILIES)}")
    if not 4 <= bits <= 62:
        raise InvalidParameter(f"bits={bits!r} must be 4…62")
    base = noise_multiplier(epsilon=epsilon, delta=delta, sample_rate=1.0, steps=steps, accountant=accountant)
    if base == 0:
        raise InvalidParameter("an infinite epsilon needs no noise shares; add plain vectors")

    def planned(multiplier: float) -> SharePlan:
        return _plan(family, cohort, dim, bits, multiplier)

    def spent(plan: SharePlan) -> float:
        return compose((plan.event(steps=steps),), delta=delta, accountant=accountant)

    low = base
    for slack in _SLACKS:
        high = base * slack
        if high <= MAX_NOISE_MULTIPLIER and spent(planned(high)) <= epsilon:
            return planned(_smallest(low, high, lambda value: spent(planned(value)) <= epsilon))
        low = high
    raise UnreachableBudget(
        f"epsilon={epsilon:g} at delta={delta:g} over {steps} sums cannot be met by {family} shares in {bits} bits; "
        "raise bits or epsilon, or lower the number of rounds"
    )


def _smallest(low: float, high: float, enough: Callable[[float], bool]) -> float:
    """A multiplier that is enough, within 0.05 % of the smallest."""
    while high > low * 1.0005:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _plan(family: NoiseFamily, cohort: Cohort, dim: int, bits: int, multiplier: float) -> SharePlan:
    """The plan whose guaranteed noise is `multiplier` times the norm of a rounded vector, at the finest scale."""

    def at(scale: float) -> SharePlan:
        squared_norm = max(1, squared_norm_bound(scale, dim))
        return SharePlan(
            family=family,
            cohort=cohort,
            dim=dim,
            bits=bits,
            scale=scale,
            squared_norm=squared_norm,
            share_variance=multiplier**2 * squared_norm / cohort.honest,
        )

    low, high = 0.0, _FINEST * math.sqrt(dim) + 1
    if at(high).wrap_deviations >= WRAP_DEVIATIONS:
        return at(high)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).wrap_deviations >= WRAP_DEVIATIONS else (low, middle)
    if low <= 0.5:
        raise UnreachableBudget(
            f"{bits} bits cannot hold the noised sum of {cohort.clients} clients in {dim} coordinates; raise bits"
        )
    return at(low)
