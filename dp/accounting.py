"""Accountants: they evaluate events through maintained libraries (opacus, dp-accounting) and calibrate noise.

Every number is an upper bound on ε. "prv" is opacus (Gopi et al. 2021), "rdp" and "pld" are Google's dp-accounting.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dp.bounds import coarse_bound, pld_bound, pld_deltas, prv_bound, rdp_bound
from dp.distributed.accounting import as_gaussian
from dp.errors import InvalidParameter, UnreachableBudget, UnsupportedAccounting
from dp.events import (
    ACCOUNTANTS,
    RELATIONS,
    Accountant,
    DiscreteGaussianSum,
    NonPrivate,
    PrivacyEvent,
    Relation,
    SampledGaussian,
    SkellamSum,
    merge,
    require_delta,
    require_epsilon,
    require_sample_rate,
    seen_by,
)

Floats = NDArray[np.float64]

MAX_NOISE_MULTIPLIER = 1e6
_ROUND_TRIP = 0.994  # a calibrated σ spends between this share of ε and ε; the contract allows 0.99


def epsilon(
    *,
    noise_multiplier: float,
    sample_rate: float,
    steps: int,
    delta: float,
    accountant: Accountant = "prv",
    relation: Relation = "add_remove",
) -> float:
    """Returns an upper bound on the ε of `steps` Poisson-sampled Gaussian sums.

    Guarantee: everything released by these steps is (ε, δ)-DP for one example under `relation`.
    Assumes: each sum's sensitivity to adding or removing an example is at most the clip norm that σ multiplies;
        samples are independent Poisson samples; noise is secret.
    Does not cover: hyper-parameters chosen on private data; finite-precision noise.
    Args: noise_multiplier: σ ≥ 0 (0 gives infinity). sample_rate: q in (0, 1]. steps: T ≥ 0. delta: in (0, 1).
    Raises: InvalidParameter; UnsupportedAccounting.
    Source: Gopi et al. 2021 ("prv"); Mironov et al. 2019 ("rdp"); Doroshenko et al. 2022 ("pld").
    """
    if steps == 0:
        _require_known(accountant, relation)
        require_delta(delta)
        return 0.0
    event = SampledGaussian(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=steps)
    return compose((event,), delta=delta, accountant=accountant, relation=relation)


def compose(
    events: tuple[PrivacyEvent, ...],
    *,
    delta: float,
    accountant: Accountant = "prv",
    relation: Relation = "add_remove",
) -> float:
    """Returns an upper bound on the ε of all `events` together, chosen adaptively or not; 0 for none.

    It holds for every example; `dp.events.seen_by` gives the events of one group of examples.

    Raises: InvalidParameter; UnsupportedAccounting for replace_one with an accountant that has no proof for it.
    """
    _require_known(accountant, relation)
    require_delta(delta)
    try:
        return _compose_merged(merge(seen_by(events)), float(delta), accountant, relation)
    except (OverflowError, ZeroDivisionError):
        return math.inf  # so little noise that the libraries' arithmetic overflows: nothing is known to bound it


def deltas(
    events: tuple[PrivacyEvent, ...], epsilons: Floats, *, delta: float, relation: Relation = "add_remove"
) -> Floats:
    """Returns an upper bound on δ(ε) of all `events` together at every ε: their whole trade-off, not one point of it.

    Args: events: Poisson-sampled Gaussian sums with noise. epsilons: shape (k,), ≥ 0. delta: where it is finest.
    Raises: InvalidParameter; UnsupportedAccounting for other events.
    Source: Doroshenko et al. 2022.
    """
    _require_known("pld", relation)
    require_delta(delta)
    merged = merge(seen_by(events))
    gaussians = tuple(event for event in merged if isinstance(event, SampledGaussian) and event.noise_multiplier > 0)
    if not merged or len(gaussians) != len(merged):
        raise UnsupportedAccounting("the trade-off of other events than sampled Gaussian sums with noise is unknown")
    return pld_deltas(gaussians, epsilons, float(delta), relation)


def noise_multiplier(
    *,
    epsilon: float,
    delta: float,
    sample_rate: float,
    steps: int,
    accountant: Accountant = "prv",
    relation: Relation = "add_remove",
) -> float:
    """Returns a σ that spends at most `epsilon`, and at least 99 % of it, in `steps` Poisson-sampled Gaussian sums.

    Args: epsilon: > 0; infinity gives 0.0. delta, sample_rate, steps: as in `epsilon`, all public.
    Raises: InvalidParameter; UnreachableBudget when ε is below what the accountant resolves, or σ would pass 1e6.
    """
    _require_known(accountant, relation)
    require_epsilon(epsilon)
    require_delta(delta)
    require_sample_rate(sample_rate)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InvalidParameter(f"steps={steps!r} must be an integer of at least 1")
    if math.isinf(epsilon):
        return 0.0
    return _calibrate(
        target=float(epsilon),
        delta=float(delta),
        sample_rate=float(sample_rate),
        steps=steps,
        accountant=accountant,
        relation=relation,
    )


def _require_known(accountant: str, relation: str) -> None:
    if accountant not in ACCOUNTANTS:
        raise UnsupportedAccounting(f"accountant={accountant!r} is unknown; use one of {', '.join(ACCOUNTANTS)}")
    if relation not in RELATIONS:
        raise UnsupportedAccounting(f"relation={relation!r} is unknown; use one of {', '.join(RELATIONS)}")
    if relation == "replace_one" and accountant != "pld":
        raise UnsupportedAccounting(
            f"accountant={accountant!r} proves add_remove only for Poisson samples; "
            "use accountant='pld' with relation='replace_one'"
        )


@lru_cache(maxsize=4096)
def _compose_merged(
    events: tuple[PrivacyEvent, ...], delta: float, accountant: Accountant, relation: Relation
) -> float:
    gaussians = tuple(event for event in events if isinstance(event, SampledGaussian))
    if any(isinstance(event, NonPrivate) for event in events) or any(e.noise_multiplier == 0 for e in gaussians):
        return math.inf
    sums = tuple(event for event in events if isinstance(event, SkellamSum | DiscreteGaussianSum))
    if not gaussians and not sums:
        return 0.0
    if accountant == "rdp":
        return rdp_bound(gaussians, delta, sums)
    if sums:
        if relation != "add_remove":
            raise UnsupportedAccounting("sums of noise shares are accounted for under add_remove only")
        equivalents = as_gaussian(sums)
        # Every probability lies within a factor e^±closeness of that of the Gaussian events: dp.distributed.accounting.
        replaced = merge((*gaussians, *equivalents.events))
        bound = _compose_merged(replaced, delta * math.exp(-equivalents.closeness), accountant, relation)
        return bound + 2 * equivalents.closeness
    if accountant == "pld":
        return pld_bound(gaussians, delta, relation)
    return prv_bound(gaussians, delta)


@lru_cache(maxsize=1024)
def _calibrate(
    *, target: float, delta: float, sample_rate: float, steps: int, accountant: Accountant, relation: Relation
) -> float:
    """Finds σ by the secant rule on (log σ, log ε), inside a bracket that only ever shrinks."""

    def spent(sigma: float) -> float:
        event = SampledGaussian(noise_multiplier=sigma, sample_rate=sample_rate, steps=steps)
        return compose((event,), delta=delta, accountant=accountant, relation=relation)

    low, high = 0.0, MAX_NOISE_MULTIPLIER  # ε(low) > target ≥ ε(high), once high is known to be enough
    sigma = _first_guess(target, delta, sample_rate, steps)
    previous: tuple[float, float] | None = None
    for _ in range(60):
        value = spent(sigma)
        if _ROUND_TRIP * target <= value <= target:
            return sigma
        low, high = (sigma, high) if value > target else (low, sigma)
        step = _secant(sigma, value, previous, target * (1 + _ROUND_TRIP) / 2)
        previous = (sigma, value)
        sigma = step if low < step < high else (math.sqrt(low * high) if low > 0 else high / 2)
        if high - low <= 1e-9 * high or low >= MAX_NOISE_MULTIPLIER:
            break
    raise UnreachableBudget(
        f"epsilon={target:g} at delta={delta:g}, sample_rate={sample_rate:g}, steps={steps} cannot be met within 1 % "
        f"by accountant={accountant!r}; raise epsilon, or lower steps or sample_rate"
    )


def _secant(sigma: float, value: float, previous: tuple[float, float] | None, aim: float) -> float:
    if value <= 0 or math.isinf(value):
        return -1.0
    slope = -1.3  # ε falls a little faster than 1/σ at common settings
    if previous is not None and previous[1] > 0 and math.isfinite(previous[1]) and previous[0] != sigma:
        measured = math.log(value / previous[1]) / math.log(sigma / previous[0])
        slope = measured if measured < -0.05 else slope
    return sigma * math.exp(min(max(math.log(aim / value) / slope, -3.0), 3.0))


def _first_guess(target: float, delta: float, sample_rate: float, steps: int) -> float:
    """A σ near the answer by a coarse Rényi bound; its quality changes the time of calibration, never its result."""
    low, high = 1e-2, MAX_NOISE_MULTIPLIER
    while high / low > 1.1:
        sigma = math.sqrt(low * high)
        bound = coarse_bound((SampledGaussian(noise_multiplier=sigma, sample_rate=sample_rate, steps=steps),), delta)
        low, high = (low, sigma) if bound <= target else (sigma, high)
    return 0.9 * high
