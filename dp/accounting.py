"""Accountants: they evaluate events through maintained libraries (opacus, dp-accounting) and calibrate noise.

Every number is an upper bound on ε. "prv" is opacus (Gopi et al. 2021), "rdp" and "pld" are Google's dp-accounting.
"""

import contextlib
import logging
import math
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from dp.errors import InvalidParameter, UnreachableBudget, UnsupportedAccounting
from dp.events import (
    ACCOUNTANTS,
    RELATIONS,
    Accountant,
    NonPrivate,
    PrivacyEvent,
    Relation,
    SampledGaussian,
    merge,
    require_delta,
    require_epsilon,
    require_sample_rate,
)

MAX_NOISE_MULTIPLIER = 1e6
_ROUND_TRIP = 0.994  # a calibrated σ spends between this share of ε and ε; the contract allows 0.99
_PRV_ERRORS = (1e-1, 1e-2, 1e-3, 1e-4)  # absolute error of ε; the first that is at most half a percent of ε is used
_PRV_MAX_POINTS = 1 << 22
_HUSH = threading.RLock()
_COARSE_ORDERS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 24.0, 32.0, 48.0, 64.0)


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

    Raises: InvalidParameter; UnsupportedAccounting for replace_one with an accountant that has no proof for it.
    """
    _require_known(accountant, relation)
    require_delta(delta)
    return _compose_merged(merge(events), float(delta), accountant, relation)


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
    if not gaussians:
        return 0.0
    if accountant == "rdp":
        return _rdp(gaussians, delta)
    if accountant == "pld":
        return _pld(gaussians, delta, relation)
    return _prv(gaussians, delta)


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
        bound = _coarse((SampledGaussian(noise_multiplier=sigma, sample_rate=sample_rate, steps=steps),), delta)
        low, high = (low, sigma) if bound <= target else (sigma, high)
    return 0.9 * high


def _coarse(events: tuple[SampledGaussian, ...], delta: float) -> float:
    """A Rényi bound on few orders, in about a millisecond: only used to start searches and to choose meshes."""
    from opacus.accountants.analysis import rdp

    with _quiet():
        total = sum(
            rdp.compute_rdp(q=e.sample_rate, noise_multiplier=e.noise_multiplier, steps=e.steps, orders=_COARSE_ORDERS)
            for e in events
        )
        return float(rdp.get_privacy_spent(orders=_COARSE_ORDERS, rdp=total, delta=delta)[0])


def _google_event(events: tuple[SampledGaussian, ...]) -> object:
    import dp_accounting

    return dp_accounting.ComposedDpEvent(
        [
            dp_accounting.SelfComposedDpEvent(
                dp_accounting.PoissonSampledDpEvent(e.sample_rate, dp_accounting.GaussianDpEvent(e.noise_multiplier)),
                e.steps,
            )
            for e in events
        ]
    )


def _rdp(events: tuple[SampledGaussian, ...], delta: float) -> float:
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant()
    with _quiet():
        accountant.compose(_google_event(events))
        return float(accountant.get_epsilon(delta))


def _pld(events: tuple[SampledGaussian, ...], delta: float, relation: Relation) -> float:
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    relations = dp_accounting.NeighboringRelation
    relation_of_google = {"add_remove": relations.ADD_OR_REMOVE_ONE, "replace_one": relations.REPLACE_ONE}[relation]
    interval = 1e-4 * max(
        1.0, _coarse(events, delta) / 100
    )  # pessimistic at any interval; coarser only where ε is vast
    accountant = PLDAccountant(relation_of_google, interval)
    with _quiet():
        accountant.compose(_google_event(events))
        return float(accountant.get_epsilon(delta))


def _prv(events: tuple[SampledGaussian, ...], delta: float) -> float:
    """Opacus' PRV bound at the coarsest mesh that is fine enough for the answer.

    Where the numerics of the PRV accountant give up (its own errors, NaN, or too large a domain), the same privacy
    loss distributions are composed by dp-accounting instead, whose rounding is pessimistic: still an upper bound.
    """
    coarse = _coarse(events, delta)
    value = math.inf
    for error in _PRV_ERRORS:
        if error > max(0.005 * coarse, _PRV_ERRORS[-1]):
            continue
        try:
            value = _prv_at(events, delta, error)
        except (RuntimeError, ValueError, MemoryError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            return _pld(events, delta, "add_remove")
        if error <= 0.005 * value:
            break
    return max(value, 0.0)


def _prv_at(events: tuple[SampledGaussian, ...], delta: float, error: float) -> float:
    from opacus.accountants.analysis.prv import compose_heterogeneous

    mechanisms = tuple((e.noise_multiplier, e.sample_rate, 1 << max(5, (e.steps - 1).bit_length())) for e in events)
    with _quiet():
        discrete = _discretized(mechanisms, delta, error)
        composed = compose_heterogeneous(dprvs=list(discrete), num_self_compositions=[e.steps for e in events])
        return float(composed.compute_epsilon(delta, delta / 1000, error)[2])


@lru_cache(maxsize=48)
def _discretized(mechanisms: tuple[tuple[float, float, int], ...], delta: float, error: float) -> tuple[object, ...]:
    """Discretises each (σ, q, most steps) on a mesh that is fine enough for *any* number of steps up to the most.

    One table then serves every round of a run. The mesh is opacus' own (Gopi et al. 2021, remark 5.6), for the next
    power of two of the steps: the error only shrinks with fewer steps. The domain is remark 5.6's with Rényi bounds on
    few orders, which widen it, and widened again to a length that the Fourier transform likes.
    """
    from opacus.accountants.analysis import prv
    from scipy.fft import next_fast_len

    events = tuple(SampledGaussian(noise_multiplier=sigma, sample_rate=q, steps=most) for sigma, q, most in mechanisms)
    total = sum(event.steps for event in events)
    delta_error = delta / 1000
    single = max(_coarse((replace(event, steps=1),), delta_error / (8 * total)) for event in events)
    bound = max(_coarse(events, delta_error / 4), single, error) + 3
    mesh = error / math.sqrt(total * math.log(12 / delta_error) / 2)
    if not bound / mesh < _PRV_MAX_POINTS / 2:
        raise MemoryError("the PRV domain is too large")
    half = next_fast_len(math.ceil(bound / mesh) + 1, real=True) - 1
    domain = prv.Domain.create_aligned(-(half - 0.5) * mesh, (half - 0.5) * mesh, mesh)
    variables = [prv.PoissonSubsampledGaussianPRV(event.sample_rate, event.noise_multiplier) for event in events]
    return tuple(
        prv.discretize(prv.TruncatedPrivacyRandomVariable(v, domain.t_min, domain.t_max), domain) for v in variables
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hushes the libraries' advice about orders that they leave out; leaving one out only raises the bound."""
    absl = logging.getLogger("absl")
    with _HUSH:  # warnings' filters and log levels belong to the whole process
        level = absl.level
        absl.setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                yield
        finally:
            absl.setLevel(level)
