"""From canaries' scores and coins to lower bounds on ε, and to the one verdict that may fail a run."""

from dataclasses import dataclass, field

import numpy as np

from attacks.audit.claim import Claim, Curve, least_noise_refuted
from attacks.audit.clopper_pearson import epsilon_clopper_pearson
from attacks.audit.gdp import epsilon_gdp
from attacks.audit.one_run import epsilon_one_run, refuted_by_guesses
from attacks.base import Floats
from attacks.errors import AttackError

SHARES = (1.0, 0.5, 0.2, 0.05)
"""Shares of the canaries that are guessed, the highest scores "in", the lowest "out": fixed before anything is seen."""

THRESHOLDS = (0.5, 1.0, 2.0, 4.0)
"""Log-likelihood ratios above which a canary is called "in", and below whose negatives "out"; fixed as well."""

BINDING = 3
"""Methods whose bounds may fail a run; the joint α is split evenly between them, and each part between its searches."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scored:
    """What an audit measured.

    Args:
        scores: one a canary, shape (m,): how much likelier "in" is than "out", as a logarithm; higher says "in".
        included: the coins, shape (m,), bool.
    """

    scores: Floats = field(repr=False)
    included: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        if self.scores.shape != self.included.shape or self.scores.ndim != 1 or not np.isfinite(self.scores).all():
            raise AttackError("an audit needs one finite score and one coin for each canary")
        if self.included.all() or not self.included.any():
            raise AttackError("an audit needs canaries on both sides; take more of them")


@dataclass(frozen=True, kw_only=True, slots=True)
class LowerBound:
    """One method's bound: the true ε is below it with probability at most `alpha`.

    Args:
        method: its name.
        epsilon: in nats.
        alpha: its share of the joint α; None for an estimate, which bounds nothing.
    """

    method: str
    epsilon: float
    alpha: float | None

    @property
    def binding(self) -> bool:
        """Whether it may fail a run."""
        return self.alpha is not None


def lower_bounds(scored: Scored, claim: Claim, *, alpha: float) -> tuple[LowerBound, ...]:
    """Every method's answer to the same scores.

    Guarantee: if the mechanism is the claimed one, a bound above the claimed ε has probability at most `alpha`, all
        binding methods and all their thresholds together. "gdp" is an estimate and guarantees nothing.
    Assumes: coins were fair, independent, tossed once before any sampling; scores were made without them. For
        "clopper-pearson" also: under the claimed mechanism canaries do not influence each other.
    Args: alpha: the joint chance of failing an honest mechanism.
    """
    part, delta = alpha / BINDING, claim.spent.delta
    return (
        LowerBound(method="one-run, f-DP of the mechanism", epsilon=_mechanism(scored, claim, part), alpha=part),
        LowerBound(method="one-run, Steinke", epsilon=_steinke(scored, delta, part), alpha=part),
        LowerBound(method="Clopper-Pearson", epsilon=_clopper_pearson(scored, delta, part), alpha=part),
        LowerBound(method="GDP estimate", epsilon=_gdp(scored, delta), alpha=None),
    )


def guess(scored: Scored, share: float) -> tuple[int, int]:
    """(guesses, correct) when that share of the canaries is guessed, half of them "in"; ties go by position."""
    half = max(1, round(scored.scores.size * share) // 2)
    order = np.argsort(scored.scores, kind="stable")
    return 2 * half, int((~scored.included[order[:half]]).sum() + scored.included[order[-half:]].sum())


def _steinke(scored: Scored, delta: float, alpha: float) -> float:
    found = [
        epsilon_one_run(
            canaries=scored.scores.size, guesses=guesses, correct=correct, delta=delta, alpha=alpha / len(SHARES)
        )
        for guesses, correct in (guess(scored, share) for share in SHARES)
    ]
    return max(found)


def _mechanism(scored: Scored, claim: Claim, alpha: float) -> float:
    """The f-DP bound within the claimed mechanism's own family: its ε at the least noise that is refuted."""
    guesses = [guess(scored, share) for share in SHARES]

    def refuted(curve: Curve) -> bool:
        return any(
            refuted_by_guesses(scored.scores.size, made, correct, curve.least_wrong, alpha=alpha / len(SHARES))
            for made, correct in guesses
        )

    factor = least_noise_refuted(refuted, claim)
    return 0.0 if factor is None else claim.epsilon_with_noise(factor)


def _clopper_pearson(scored: Scored, delta: float, alpha: float) -> float:
    """Both directions at every threshold."""
    inside, outside = scored.scores[scored.included], scored.scores[~scored.included]
    found = []
    for threshold in THRESHOLDS:
        for sign in (1, -1):
            positives, negatives = (inside, outside) if sign == 1 else (outside, inside)
            found.append(
                epsilon_clopper_pearson(
                    false_positives=int((sign * negatives > threshold).sum()),
                    false_negatives=int((sign * positives <= threshold).sum()),
                    positives=positives.size,
                    negatives=negatives.size,
                    delta=delta,
                    alpha=alpha,
                    thresholds=2 * len(THRESHOLDS),
                )
            )
    return max(found)


def _gdp(scored: Scored, delta: float) -> float:
    """At the threshold 0, fixed beforehand; half a canary is added on either side, so that no rate is 0 or 1."""
    inside, outside = scored.scores[scored.included], scored.scores[~scored.included]
    fpr = ((outside > 0.0).sum() + 0.5) / (outside.size + 1)
    fnr = ((inside <= 0.0).sum() + 0.5) / (inside.size + 1)
    return epsilon_gdp(fpr=float(fpr), fnr=float(fnr), delta=delta)
