"""LiRA: is a score more likely under models that saw the example than under those that did not?"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.stats import norm

from attacks.errors import AttackError

SMALLEST_STD = 1e-12
"""Below this all shadow scores are one number and no Gaussian fits them."""


def lira(
    score: float,
    in_scores: Sequence[float],
    out_scores: Sequence[float],
    *,
    mode: Literal["online", "offline"] = "online",
) -> float:
    """The likelihood-ratio score of one example; higher says "member".

    Args:
        score: of the attacked model, φ = log(p / (1 − p)) of the true class.
        in_scores: φ of shadow models that were trained on the example; not read in mode "offline".
        out_scores: φ of shadow models that were not.
        mode: "online", log N(φ; in) − log N(φ; out); "offline", the one-sided Pr[N(out) < φ].

    Raises:
        AttackError: If a mode is unknown, or a needed side has fewer than two different scores.
    Source: Carlini et al. 2022, *Membership Inference Attacks From First Principles*, Algorithm 1 and equation 4;
        standard deviations are those of the population.
    """
    if mode not in ("online", "offline"):
        raise AttackError(f'lira: mode must be "online" or "offline", got {mode!r}')
    out_mean, out_std = _gaussian(out_scores, "out_scores")
    if mode == "offline":
        return float(norm.cdf(score, out_mean, out_std))
    in_mean, in_std = _gaussian(in_scores, "in_scores")
    return float(norm.logpdf(score, in_mean, in_std) - norm.logpdf(score, out_mean, out_std))


def _gaussian(scores: Sequence[float], side: str) -> tuple[float, float]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all() or values.std() < SMALLEST_STD:
        raise AttackError(f"lira: {side} needs at least two finite, different scores; train more shadow models")
    return float(values.mean()), float(values.std())
