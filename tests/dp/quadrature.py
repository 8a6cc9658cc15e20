"""An accountant of its own, for known answers: plain numerical integration and an FFT, no privacy library.

Run it to write `known_answers.json` anew: `python tests/dp/quadrature.py`.
"""

import json
import math
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp, ndtr
from scipy.stats import norm

MESH = 2e-4
POINTS = 1 << 19
ANSWERS = Path(__file__).with_name("known_answers.json")


def epsilon(*, sigma: float, rate: float, steps: int, delta: float) -> float:
    """ε of Poisson-sampled Gaussian sums under add/remove: the worse of the two directions."""
    return max(_one_sided(sigma, rate, steps, delta, adds) for adds in (False, True))


def gaussian(*, sigma: float, delta: float) -> float:
    """ε of one Gaussian sum of everything in closed form (Balle & Wang 2018, theorem 8); T sums are one with σ/√T."""

    def excess(epsilon: float) -> float:
        a, b = 1 / (2 * sigma), epsilon * sigma
        return float(ndtr(a - b) - math.exp(epsilon) * ndtr(-a - b) - delta)

    return float(brentq(excess, 0.0, 500.0))


def renyi(*, sigma: float, rate: float, steps: int, delta: float) -> float:
    """ε by the Rényi divergence, integrated numerically (Mironov et al. 2019, theorem 4; Canonne et al. 2020)."""
    found = math.inf
    for order in (*np.linspace(1.1, 12, 110), *range(13, 65)):
        x = np.linspace(-12 * sigma, order + 12 * sigma, 40_001)
        ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * x - 1) / (2 * sigma**2))
        moment = logsumexp(norm.logpdf(x, 0, sigma) + order * ratio) + math.log(x[1] - x[0])
        divergence = steps * float(moment) / (order - 1)
        found = min(found, divergence + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1))
    return found


def individual(
    *, epsilons: dict[str, float], shares: dict[str, float], rate: float, steps: int, delta: float
) -> tuple[float, dict[str, float]]:
    """Common σ and each group's rate, by nested root finding."""

    def rates(sigma: float) -> dict[str, float]:
        def excess(log_rate: float, target: float) -> float:
            return epsilon(sigma=sigma, rate=math.exp(log_rate), steps=steps, delta=delta) - target

        low, high = math.log(3e-4), math.log(0.9)
        return {
            name: math.exp(brentq(excess, low, high, args=(target,), xtol=1e-4)) if excess(high, target) > 0 else 0.9
            for name, target in epsilons.items()
        }

    def mismatch(sigma: float) -> float:
        found = rates(sigma)
        return sum(shares[name] * found[name] for name in found) - rate

    sigma = float(brentq(mismatch, 0.7, 2.5, xtol=2e-3))
    return sigma, rates(sigma)


def _one_sided(sigma: float, rate: float, steps: int, delta: float, adds: bool) -> float:
    """The loss of one step on a mesh, convolved with itself, and the ε at which its hockey-stick divergence is δ."""
    x = np.linspace(-12 * sigma, 12 * sigma + 1, 400_001)
    without, with_one = norm.cdf(x, 0, sigma), (1 - rate) * norm.cdf(x, 0, sigma) + rate * norm.cdf(x, 1, sigma)
    loss = np.logaddexp(math.log1p(-rate) if rate < 1 else -np.inf, math.log(rate) + (2 * x - 1) / (2 * sigma**2))
    middle = (loss[1:] + loss[:-1]) / 2
    mass, values = (np.diff(without), -middle) if adds else (np.diff(with_one), middle)
    pmf = np.bincount(np.round(values / MESH).astype(int) % POINTS, weights=mass, minlength=POINTS)
    # Rounding moves the mean a little; it is put back after the convolution.
    shift = steps * float(mass @ (values - MESH * np.round(values / MESH)))
    total = np.clip(np.fft.irfft(np.fft.rfft(pmf) ** steps, POINTS), 0, None)
    grid = np.fft.fftfreq(POINTS, 1 / (POINTS * MESH)) + shift

    def excess(epsilon: float) -> float:
        above = grid > epsilon
        return float(total[above] @ -np.expm1(epsilon - grid[above])) - delta

    return 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, POINTS * MESH / 2))


def _write() -> None:
    delta = 1e-5
    sampled = [
        (0.15, 0.82, 24),
        (0.01, 0.6, 200),
        (0.05, 2.0, 1000),
        (0.004, 1.1, 10_000),
        (0.3, 5.0, 60),
        (0.5, 1.5, 3),
    ]
    fields = ("sample_rate", "noise_multiplier", "steps")
    rows = [
        {
            **dict(zip(fields, (rate, sigma, steps), strict=True)),
            "delta": delta,
            "tight": epsilon(sigma=sigma, rate=rate, steps=steps, delta=delta),
            "renyi": renyi(sigma=sigma, rate=rate, steps=steps, delta=delta),
        }
        for rate, sigma, steps in sampled
    ]
    whole = [
        {
            **dict(zip(fields, (1.0, sigma, steps), strict=True)),
            "delta": small,
            "tight": gaussian(sigma=sigma / math.sqrt(steps), delta=small),
            "renyi": None,
        }
        for sigma, steps, small in [(1.0, 1, 1e-5), (4.0, 1, 1e-6), (10.0, 50, 1e-5), (0.7, 1, 1e-3), (30.0, 8, 1e-8)]
    ]
    groups = []
    for epsilons, shares, rate, steps in [
        ({"a": 1.0, "b": 8.0}, {"a": 0.3, "b": 0.7}, 0.15, 24),
        ({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 0.34, "b": 0.43, "c": 0.23}, 0.05, 200),
    ]:
        sigma, rates = individual(epsilons=epsilons, shares=shares, rate=rate, steps=steps, delta=delta)
        groups.append(
            {
                "epsilons": epsilons,
                "shares": shares,
                "sample_rate": rate,
                "steps": steps,
                "delta": delta,
                "noise_multiplier": sigma,
                "sample_rates": rates,
            }
        )
    ANSWERS.write_text(json.dumps({"sums": rows + whole, "groups": groups}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _write()
