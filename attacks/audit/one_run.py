"""Lower bounds on ε from a single training run with many canaries, each in or out by its own fair coin."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from attacks.audit.checks import check_fraction, check_part
from attacks.errors import AttackError

LARGEST = 64.0
"""No ε above this is looked for."""

TOLERANCE = 1e-7
"""Width at which the search for ε stops."""


def epsilon_one_run(
    *,
    canaries: int,
    guesses: int,
    correct: int,
    delta: float,
    alpha: float = 0.05,
    bound: Literal["steinke", "fdp"] = "steinke",
) -> float:
    """The largest ε that so many correct guesses refute at confidence 1 − alpha.

    Guarantee: exceeds the true ε with probability at most alpha. "fdp" holds for mechanisms whose trade-off curve is
        that of a Gaussian with this (ε, δ).
    Assumes: each canary's coin was fair, independent, and tossed before Poisson sampling; the attacker chose which
        canaries to guess without the coins.
    Does not cover: "steinke" with a large canaries·delta, where the bound is 0: take a smaller δ, or "fdp".
    Args:
        canaries: m, all of them. guesses: r ≤ m, in or out, the others abstained. correct: v ≤ r.
        delta: of the claim under test. alpha: chance of a bound above the truth. bound: whose theorem.
    Returns:
        ≥ 0, in nats.
    Raises:
        AttackError: If a count or rate is out of range, or the bound is unknown.
    Source: Steinke, Nasr, Jagielski 2023, *Privacy Auditing with One (1) Training Run*, theorem 5.2;
        Mahloujifar, Melis, Chaudhuri 2024, *Auditing f-Differential Privacy in One Run*, algorithm 3.
    """
    if canaries < 1:
        raise AttackError("canaries must be at least 1")
    check_part("guesses", guesses, canaries)
    check_part("correct", correct, guesses)
    check_fraction("alpha", alpha)
    check_fraction("delta", delta, open_ends=False)
    if bound == "steinke":
        return _largest_refuted(lambda e: _p_steinke(canaries, guesses, correct, e, delta) < alpha)
    if bound == "fdp":
        if delta == 0:
            raise AttackError('delta must be above 0 with bound="fdp", whose Gaussian has no pure ε; use "steinke"')

        def refuted(epsilon: float) -> bool:
            mu = _mu(epsilon, delta)
            return refuted_by_guesses(canaries, guesses, correct, lambda right: _least_wrong(right, mu), alpha=alpha)

        return _largest_refuted(refuted)
    raise AttackError(f'bound must be "steinke" or "fdp", got {bound!r}')


def _largest_refuted(refuted: Callable[[float], bool]) -> float:
    """Bisection; refutation is monotone in ε."""
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, LARGEST
    while high - low > TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def _p_steinke(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """P-value: β + 2 m δ max_i [(Pr[V ≥ v − i] − β) / i], V ~ Bin(r, e^ε / (1 + e^ε)), β = Pr[V ≥ v]."""
    chance = 1.0 / (1.0 + math.exp(-epsilon))
    beta = float(binom.sf(correct - 1, guesses, chance))
    if correct == 0:
        return 1.0
    steps = np.arange(1, correct + 1)
    slopes = (binom.sf(correct - steps - 1, guesses, chance) - beta) / steps
    return min(beta + 2.0 * canaries * delta * float(max(slopes.max(), 0.0)), 1.0)


def _mu(epsilon: float, delta: float) -> float:
    """μ of the Gaussian mechanism that is (ε, δ)-private and no better."""
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        spent = ndtr(-epsilon / middle + middle / 2) - math.exp(epsilon) * ndtr(-epsilon / middle - middle / 2)
        low, high = (middle, high) if spent < delta else (low, middle)
    return low


def refuted_by_guesses(
    canaries: int, guesses: int, correct: int, least_wrong: Callable[[float], float], *, alpha: float
) -> bool:
    """Whether so many right guesses cannot happen, at level alpha, under a mechanism with a given trade-off curve.

    Backwards over the number of correct guesses: one sum bounds the mass on wrong guesses, the other that on right
    ones, and the curve ties each step to the next (k = 2 choices a canary).

    Guarantee, Assumes: as `epsilon_one_run`, for any mechanism whose trade-off curve is not below the given one.
    Args:
        canaries, guesses, correct: as in `epsilon_one_run`.
        least_wrong: f̄⁻¹, the least mass on wrong guesses that lets right ones have a given mass; never too large.
        alpha: chance of refuting a mechanism that has this curve.
    Source: Mahloujifar, Melis, Chaudhuri 2024, algorithm 3.
    """
    right = alpha * correct / canaries
    wrong = alpha * (guesses - correct) / canaries
    for index in range(correct - 1, -1, -1):
        wrong_next = max(wrong, least_wrong(right))
        right += index / (guesses - index) * (wrong_next - wrong)
        wrong = wrong_next
    return right + wrong > guesses / canaries


def _least_wrong(right: float, mu: float) -> float:
    """f̄⁻¹: the least mass on wrong guesses that lets right ones have `right`, for two choices."""
    return float(ndtr(ndtri(min(right, 1.0)) - mu))
