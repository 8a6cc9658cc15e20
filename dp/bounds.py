"""Upper bounds on ε, each computed by a maintained library: dp-accounting ("rdp", "pld") and opacus ("prv").

All take merged events with noise_multiplier > 0 and a δ in (0, 1); `dp.accounting` is the public side.
"""

import contextlib
import logging
import math
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp.distributed.accounting import rdp_of_sum
from dp.events import DiscreteGaussianSum, Relation, SampledGaussian, SkellamSum

_PRV_ERRORS = (1e-1, 1e-2, 1e-3, 1e-4)  # absolute error of ε; the first that is at most half a percent of ε is used
_PRV_MAX_POINTS = 1 << 22
_HUSH = threading.RLock()
_COARSE_ORDERS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 24.0, 32.0, 48.0, 64.0)


def coarse_bound(events: tuple[SampledGaussian, ...], delta: float) -> float:
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


def rdp_bound(
    events: tuple[SampledGaussian, ...], delta: float, sums: tuple[SkellamSum | DiscreteGaussianSum, ...] = ()
) -> float:
    """Google's Rényi accountant, add/remove; sums of noise shares at the orders for which they have a proof."""
    from dp_accounting.rdp import RdpAccountant, compute_epsilon

    with _quiet():
        orders = np.asarray(RdpAccountant().orders)
        total = sum((e.steps * _rdp_of_one_step(e.noise_multiplier, e.sample_rate) for e in events), 0.0 * orders)
        total += sum((e.steps * rdp_of_sum(e, orders) for e in sums), 0.0 * orders)
        proven = np.isfinite(total)
        return float(compute_epsilon(orders[proven], total[proven], delta)[0])


@lru_cache(maxsize=1024)
def _rdp_of_one_step(noise_multiplier: float, sample_rate: float) -> NDArray[np.float64]:
    """Rényi divergences at the accountant's own orders; they add up over steps, so that one evaluation serves a run."""
    from dp_accounting.rdp import RdpAccountant

    step = SampledGaussian(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=1)
    return np.asarray(RdpAccountant().compose(_google_event((step,))).rdp)


def pld_bound(events: tuple[SampledGaussian, ...], delta: float, relation: Relation) -> float:
    """Google's privacy loss distributions, rounded pessimistically."""
    with _quiet():
        interval = 1e-4 * max(1.0, coarse_bound(events, delta) / 100)  # coarser only where ε is vast
        return float(_pld(events, relation, interval=interval).get_epsilon(delta))


def pld_deltas(
    events: tuple[SampledGaussian, ...], epsilons: NDArray[np.float64], delta: float, relation: Relation
) -> NDArray[np.float64]:
    """The δ that holds beside each ε, from privacy loss distributions on a coarser mesh than that of `pld_bound`.

    Args: delta: sets the mesh only, which is as fine as an ε at this δ needs.
    """
    with _quiet():
        interval = 1e-3 * max(1.0, coarse_bound(events, delta) / 10)
        return np.asarray(_pld(events, relation, interval=interval).get_delta(epsilons), dtype=np.float64)


def _pld(events: tuple[SampledGaussian, ...], relation: Relation, *, interval: float) -> Any:
    """Privacy loss distributions, rounded pessimistically at any interval."""
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    relations = dp_accounting.NeighboringRelation
    relation_of_google = {"add_remove": relations.ADD_OR_REMOVE_ONE, "replace_one": relations.REPLACE_ONE}[relation]
    with _quiet():
        return PLDAccountant(relation_of_google, interval).compose(_google_event(events))


def prv_bound(events: tuple[SampledGaussian, ...], delta: float) -> float:
    """Opacus' PRV bound at the coarsest mesh that is fine enough for the answer.

    Where the numerics of the PRV accountant give up (its own errors, NaN, or too large a domain), the same privacy
    loss distributions are composed by dp-accounting instead, whose rounding is pessimistic: still an upper bound.
    """
    coarse = coarse_bound(events, delta)
    value = math.inf
    for error in _PRV_ERRORS:
        if error > max(0.005 * coarse, _PRV_ERRORS[-1]):
            continue
        try:
            value = _prv_at(events, delta, error)
        except (RuntimeError, ValueError, MemoryError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            return pld_bound(events, delta, "add_remove")
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
    single = max(coarse_bound((replace(event, steps=1),), delta_error / (8 * total)) for event in events)
    bound = max(coarse_bound(events, delta_error / 4), single, error) + 3
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
