"""The claim that an audit tests: what the ledger says a canary went through, and the whole trade-off curve of it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

import dp
from attacks.base import Floats
from attacks.errors import AttackError
from dp.accounting import deltas
from dp.events import Relation

GRID = np.concatenate([np.linspace(0.0, 4.0, 161), np.linspace(4.1, 20.0, 160)])
"""The ε at which δ(ε) is read; between them the curve is taken for lower than it is, which costs power only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What the accountant says of the audited releases.

    Args:
        events: of the ledger, as one canary saw them: Poisson-sampled Gaussian sums with noise.
        spent: the upper bound on ε, with its δ, unit, relation and accountant.
    """

    events: tuple[dp.SampledGaussian, ...]
    spent: dp.PrivacySpent

    def with_noise(self, factor: float) -> tuple[dp.SampledGaussian, ...]:
        """The same releases with `factor` times the noise."""
        return tuple(replace(event, noise_multiplier=event.noise_multiplier * factor) for event in self.events)

    def epsilon_with_noise(self, factor: float) -> float:
        """ε of the same releases with `factor` times the noise, by the accountant of the claim."""
        return dp.compose(
            self.with_noise(factor),
            delta=self.spent.delta,
            accountant=self.spent.accountant,
            relation=self.spent.relation,
        )

    def curve_with_noise(self, factor: float) -> "Curve":
        """The trade-off of the same releases with `factor` times the noise."""
        return _curve(self.with_noise(factor), self.spent.delta, self.spent.relation)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """A trade-off curve from below: δ(ε) at the ε of `GRID`, both directions covered by the larger.

    A test with false positive rate x has a true positive rate of at most min over ε of e^ε x + δ(ε), and of
    1 − e^(−ε) (1 − x − δ(ε)).
    Source: Dong, Roth, Su 2022, proposition 6 (f is the envelope of its (ε, δ) lines).
    """

    deltas: Floats = field(repr=False)

    def least_wrong(self, right: float) -> float:
        """The least false positive rate at which a true positive rate of `right` is possible."""
        growth = np.exp(GRID)
        lines = np.maximum((right - self.deltas) / growth, 1.0 - self.deltas - growth * (1.0 - right))
        return float(min(max(lines.max(), 0.0), 1.0))


@lru_cache(maxsize=256)
def _curve(events: tuple[dp.SampledGaussian, ...], delta: float, relation: Relation) -> Curve:
    return Curve(deltas=np.clip(deltas(events, GRID, delta=delta, relation=relation), 0.0, 1.0))


def least_noise_refuted(refuted: Callable[[Curve], bool], claim: Claim, *, tolerance: float = 0.01) -> float | None:
    """The least factor on the claim's noise at which the mechanism is refuted, by bisection; None if none is.

    All mechanisms of the family with more noise are then refuted too: their curves lie above. Looked for between 1/20
    and 20 times the claimed noise; less than 1/20 is reported as that.

    Raises: AttackError if the tolerance is not positive.
    """
    if tolerance <= 0:
        raise AttackError(f"tolerance must be positive, got {tolerance}")
    low, high = (0.05, 1.0) if refuted(claim.curve_with_noise(1.0)) else (1.0, 20.0)
    if high > 1 and not refuted(claim.curve_with_noise(high)):
        return None
    while high / low > 1 + tolerance:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if refuted(claim.curve_with_noise(middle)) else (middle, high)
    return high
