"""Calibration in the other directions: the sampling rate or the number of steps that a budget and a noise allow."""

import math
from collections.abc import Callable
from functools import lru_cache

from dp.accounting import compose, epsilon
from dp.errors import InvalidParameter, UnreachableBudget
from dp.events import (
    Accountant,
    PrivacyEvent,
    Relation,
    SampledGaussian,
    require_delta,
    require_epsilon,
    require_noise_multiplier,
)

SMALLEST_RATE = 1e-9
_ROUND_TRIP = 0.994  # a calibrated rate spends between this share of ε and ε


def sample_rate(
    *,
    noise_multiplier: float,
    epsilon: float,
    delta: float,
    steps: int,
    accountant: Accountant = "prv",
    relation: Relation = "add_remove",
) -> float:
    """Returns a sampling rate q at which `steps` Poisson-sampled Gaussian sums spend at most `epsilon`.

    Below q = 1 they spend at least 99 % of it, or a rate 0.01 % higher would spend more than all of it; 1.0 where even
    the whole data set in every step fits.

    Args: noise_multiplier: σ > 0. epsilon: > 0; infinity gives 1.0. delta, steps: as in `dp.epsilon`, all public.
    Raises: InvalidParameter; UnreachableBudget when no rate of at least 1e-9 fits.
    """
    _require_noise(noise_multiplier)
    require_epsilon(epsilon)
    require_delta(delta)
    SampledGaussian(noise_multiplier=noise_multiplier, sample_rate=1.0, steps=steps)
    if math.isinf(epsilon):
        return 1.0
    return _rate(
        sigma=float(noise_multiplier),
        target=float(epsilon),
        delta=float(delta),
        steps=steps,
        accountant=accountant,
        relation=relation,
    )


def affordable_steps(
    *,
    noise_multiplier: float,
    sample_rate: float,
    epsilon: float,
    delta: float,
    at_most: int,
    earlier: tuple[PrivacyEvent, ...] = (),
    accountant: Accountant = "prv",
    relation: Relation = "add_remove",
) -> int:
    """Returns the most steps, 0 … `at_most`, that spend at most `epsilon` together with everything in `earlier`.

    Args: noise_multiplier: σ > 0. sample_rate: q in (0, 1]. epsilon: > 0. delta: in (0, 1). at_most: ≥ 0.
        earlier: what was released before, as the ledger has it.
    Raises: InvalidParameter.
    """
    _require_noise(noise_multiplier)
    require_epsilon(epsilon)
    if isinstance(at_most, bool) or not isinstance(at_most, int) or at_most < 0:
        raise InvalidParameter(f"at_most={at_most!r} must be an integer of at least 0")

    def fits(steps: int) -> bool:
        event = SampledGaussian(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=steps)
        return compose((*earlier, event), delta=delta, accountant=accountant, relation=relation) <= epsilon

    return most_fitting(at_most, fits)


def most_fitting(at_most: int, fits: Callable[[int], bool]) -> int:
    """Returns the largest n of 0 … `at_most` that fits; 0 does, and whatever is below one that does."""
    if at_most == 0 or fits(at_most):
        return at_most
    fitting, high = 0, 1  # invariant: `fitting` fits
    while high < at_most and fits(high):
        fitting, high = high, 2 * high
    high = min(high, at_most)
    while high - fitting > 1:
        middle = (fitting + high) // 2
        fitting, high = (middle, high) if fits(middle) else (fitting, middle)
    return fitting


def _require_noise(noise_multiplier: float) -> None:
    require_noise_multiplier(noise_multiplier)
    if noise_multiplier == 0:
        raise InvalidParameter("noise_multiplier=0 has no privacy at any rate or number of steps; give it above 0")


@lru_cache(maxsize=1024)
def _rate(
    *, sigma: float, target: float, delta: float, steps: int, accountant: Accountant, relation: Relation
) -> float:
    """Finds q by the secant rule on (log q, log ε), inside a bracket that only ever shrinks."""

    def spent(rate: float) -> float:
        return epsilon(
            noise_multiplier=sigma,
            sample_rate=rate,
            steps=steps,
            delta=delta,
            accountant=accountant,
            relation=relation,
        )

    whole = spent(1.0)
    if whole <= target:
        return 1.0
    low, high = 0.0, 1.0  # ε(low) ≤ target < ε(high)
    previous = (1.0, whole)
    rate = min(max(target / whole, SMALLEST_RATE), 0.5)
    for _ in range(80):
        value = spent(rate)
        if _ROUND_TRIP * target <= value <= target:
            return rate
        low, high = (low, rate) if value > target else (rate, high)
        step = _secant(rate, value, previous, target * (1 + _ROUND_TRIP) / 2)
        previous = (rate, value)
        rate = step if low < step < high else math.sqrt(max(low, SMALLEST_RATE) * high)
        if high - low <= 1e-4 * high or high <= SMALLEST_RATE:
            break
    if low > 0:
        return low  # the accountant's ε jumps past the target here: Rényi bounds do where they are tiny
    raise UnreachableBudget(
        f"epsilon={target:g} at delta={delta:g}, noise_multiplier={sigma:g}, steps={steps} cannot be met within 1 % at "
        f"any sampling rate by accountant={accountant!r}; raise epsilon or noise_multiplier, or lower steps"
    )


def _secant(rate: float, value: float, previous: tuple[float, float], aim: float) -> float:
    if value <= 0 or math.isinf(value) or previous[1] <= 0 or math.isinf(previous[1]) or previous[0] == rate:
        return -1.0
    slope = math.log(value / previous[1]) / math.log(rate / previous[0])
    return rate * math.exp(min(max(math.log(aim / value) / slope, -3.0), 3.0)) if slope > 0.02 else -1.0
