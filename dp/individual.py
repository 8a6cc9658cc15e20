"""IDP-SGD, *Sample*: one noise for all, and for every group of examples the sampling rate that its budget allows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dp.accounting import noise_multiplier
from dp.calibration import sample_rate as rate_for
from dp.errors import InvalidParameter, UnreachableBudget
from dp.events import Accountant, Relation, require_sample_rate

_CLOSE = 0.005  # the expected batch may be off by half a percent; no budget ever is
_MAX_SHARES_ERROR = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class IndividualRates:
    """A common σ, and (group, q) of each group by name: what `GroupedGaussian` takes."""

    noise_multiplier: float
    groups: tuple[tuple[str, float], ...]


def individual_rates(
    *,
    epsilons: Mapping[str, float],
    shares: Mapping[str, float],
    delta: float,
    sample_rate: float,
    steps: int,
    accountant: Accountant = "prv",
    relation: Relation = "add_remove",
) -> IndividualRates:
    """Finds σ and rates q_p such that every group spends at most its ε_p, and Σ share_p·q_p is `sample_rate`.

    Guarantee: each group's ε is at most its own budget, and at least 99 % of it unless its rate is 1.
    Assumes: shares are public; which group an example is in does not depend on the other examples.
    Does not cover: secrecy of an example's group where budgets were chosen by what the example says.
    Args: epsilons: ε_p > 0, finite, by group. shares: > 0, adding up to 1, for the same groups. sample_rate: q in
        (0, 1], of the whole. delta, steps: as in `dp.epsilon`.
    Raises: InvalidParameter; UnreachableBudget.
    Source: Boenisch et al. 2023 (Have it your way), algorithm 1 with getSampleRate.
    """
    _require_described(epsilons, shares, sample_rate)
    names = sorted(epsilons)

    def rates(sigma: float) -> dict[str, float]:
        return {
            name: rate_for(
                noise_multiplier=sigma,
                epsilon=epsilons[name],
                delta=delta,
                steps=steps,
                accountant=accountant,
                relation=relation,
            )
            for name in names
        }

    def noise(epsilon: float) -> float:
        return noise_multiplier(
            epsilon=epsilon,
            delta=delta,
            sample_rate=sample_rate,
            steps=steps,
            accountant=accountant,
            relation=relation,
        )

    # With the noise of the loosest budget at q every rate is at most q; with that of the strictest at least q.
    low, high = noise(max(epsilons.values())), noise(min(epsilons.values()))
    sigma = math.exp(sum(shares[name] * math.log(noise(epsilons[name])) for name in names))
    for _ in range(40):
        found = rates(sigma)
        mean = sum(shares[name] * found[name] for name in names)
        if abs(mean / sample_rate - 1) <= _CLOSE or high - low <= 1e-6 * high:
            return IndividualRates(noise_multiplier=sigma, groups=tuple(found.items()))
        low, high = (sigma, high) if mean < sample_rate else (low, sigma)
        # Rates grow about as σ does: a proportional step, kept inside the bracket.
        step = sigma * sample_rate / mean
        sigma = step if low < step < high else math.sqrt(low * high)
    raise UnreachableBudget(f"no noise meets the budgets {dict(epsilons)} at sample_rate={sample_rate:g}")


def _require_described(epsilons: Mapping[str, float], shares: Mapping[str, float], sample_rate: float) -> None:
    require_sample_rate(sample_rate)
    if not epsilons or set(epsilons) != set(shares):
        raise InvalidParameter(f"epsilons names {sorted(epsilons)} and shares {sorted(shares)}; name the same groups")
    if any(not 0 < epsilon < math.inf for epsilon in epsilons.values()):
        raise InvalidParameter("every group's epsilon must be above 0 and finite")
    if any(share <= 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > _MAX_SHARES_ERROR:
        raise InvalidParameter(f"shares must be above 0 and add up to 1, not {sum(shares.values()):g}")
