"""An estimate of ε from one pair of error rates, as if the mechanism were Gaussian."""

import math

from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from attacks.audit.checks import check_fraction


def epsilon_gdp(*, fpr: float, fnr: float, delta: float) -> float:
    """The ε(δ) of the Gaussian mechanism whose best test has these error rates.

    μ = Φ⁻¹(1 − FPR) − Φ⁻¹(FNR), and δ(ε) = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2) solved for ε.

    Guarantee: none. This is an estimate: with rates of a searched threshold it exceeds the true ε as a rule.
    Assumes: the attacker's scores are those of a Gaussian mechanism; exact rates.
    Does not cover: sampling error of the rates.
    Args:
        fpr, fnr: in (0, 1). delta: in (0, 1).
    Returns:
        ≥ 0, in nats; 0 where the test is no better than chance.
    Raises:
        AttackError: If a rate is out of range.
    Source: Dong, Roth, Su 2022, *Gaussian Differential Privacy*, corollary 2.13; Nasr et al. 2023, section 5.
    """
    for name, value in (("fpr", fpr), ("fnr", fnr), ("delta", delta)):
        check_fraction(name, value)
    mu = float(ndtri(1 - fpr) - ndtri(fnr))
    if mu <= 0 or _delta(0.0, mu) <= delta:
        return 0.0
    # δ(ε) < Φ(−ε/μ + μ/2), which falls below δ at this ε.
    high = mu * (mu / 2 - float(ndtri(delta)))
    return float(brentq(lambda epsilon: _delta(epsilon, mu) - delta, 0.0, high))


def _delta(epsilon: float, mu: float) -> float:
    return float(ndtr(-epsilon / mu + mu / 2) - math.exp(epsilon) * ndtr(-epsilon / mu - mu / 2))
