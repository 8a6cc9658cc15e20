"""Membership scores as functions of numbers: what each paper's attack makes of logits and of shadow models."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.linear_model import QuantileRegressor

from attacks.base import Floats
from attacks.errors import AttackError
from attacks.membership.lira import lira

Mode = Literal["online", "offline"]


def confidence_scores(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """φ = log(p / (1 − p)) of the true class, without ever forming p.

    Args: logits: shape (n, classes), at least two classes. labels: shape (n,).
    Source: Carlini et al. 2022, section V.A.
    """
    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or values.shape[1] < 2 or truth.shape != values.shape[:1]:
        raise AttackError(f"logits (n, classes >= 2) do not fit labels: {values.shape} and {truth.shape}")
    rows = np.arange(len(truth))
    others = values.copy()
    others[rows, truth] = -np.inf
    return np.asarray(values[rows, truth] - logsumexp(others, axis=1))


def reference_scores(losses: ArrayLike, reference_losses: ArrayLike) -> Floats:
    """ℓ_ref − ℓ: how much easier an example is than for a model that never saw it.

    Source: Watson et al. 2022, *On the Importance of Difficulty Calibration in Membership Inference Attacks*.
    """
    return np.asarray(reference_losses, dtype=np.float64) - np.asarray(losses, dtype=np.float64)


def min_k_score(token_log_probabilities: ArrayLike, *, share: float = 0.2) -> float:
    """Min-K%: the mean of the lowest share of one text's token log-probabilities, one token at least.

    Source: Shi et al. 2024, *Detecting Pretraining Data from Large Language Models*, section 3.
    """
    values = np.asarray(token_log_probabilities, dtype=np.float64)
    if values.ndim != 1 or not values.size or not 0 < share <= 1:
        raise AttackError("Min-K% needs at least one token of one text, and a share in (0, 1]")
    count = max(1, int(values.size * share))
    return float(np.sort(values)[:count].mean())


def lira_scores(scores: Floats, shadow_scores: Floats, inside: np.ndarray, *, mode: Mode) -> Floats:
    """`lira` of every example against the shadow models that saw it and those that did not.

    Args:
        scores: φ of the attacked model, shape (n,).
        shadow_scores: φ of the shadow models, shape (models, n).
        inside: which shadow saw which example, shape (models, n), bool.
        mode: "online" or "offline", as in `lira`.
    """
    _check_shadows(scores, shadow_scores, inside)
    return np.array(
        [
            lira(float(score), column[seen].tolist(), column[~seen].tolist(), mode=mode)
            for score, column, seen in zip(scores, shadow_scores.T, inside.T, strict=True)
        ]
    )


def rmia_scores(
    probabilities: Floats,
    shadow_probabilities: Floats,
    inside: np.ndarray,
    *,
    population: np.ndarray,
    mode: Mode,
    gamma: float = 1.0,
    a: float = 0.3,
) -> Floats:
    """RMIA: the share of population examples z that x dominates, Pr_z[(p_x / P(x)) / (p_z / P(z)) > γ].

    P is the mean over shadow models, of both kinds (online) or ½((1 + a) P_out + (1 − a)) (offline).

    Args:
        probabilities: of the true class under the attacked model, shape (n,).
        shadow_probabilities: the same under the shadow models, shape (models, n).
        inside: which shadow saw which example, shape (models, n), bool.
        population: indices of the z, known not to be members.
        mode: "online" or "offline".
        gamma: γ ≥ 1.
        a: how much the offline P leans on P_out.
    Source: Zarifzadeh, Liu, Shokri 2024, *Low-Cost High-Power Membership Inference Attacks*, equations 2 to 4.
    """
    _check_shadows(probabilities, shadow_probabilities, inside)
    if not population.size or gamma < 1:
        raise AttackError("RMIA needs a population and gamma >= 1")
    if mode == "online":
        reference = shadow_probabilities.mean(axis=0)
    else:
        outside = np.ma.masked_array(shadow_probabilities, mask=inside).mean(axis=0)
        reference = ((1 + a) * np.ma.filled(outside, np.nan) + (1 - a)) / 2
    if not np.isfinite(reference).all() or not (reference > 0).all():
        raise AttackError("RMIA needs, for every example, a shadow model that never saw it; train more of them")
    ratios = probabilities / reference
    return np.asarray((ratios[:, None] > gamma * ratios[None, population]).mean(axis=1))


def quantile_scores(
    scores: Floats, features: Floats, *, public_scores: Floats, public_features: Floats, quantile: float = 0.9
) -> Floats:
    """How far a score exceeds the quantile that examples like it have when they are no members.

    Args:
        scores: of the candidates under the attacked model, shape (n,).
        features: what does not depend on membership, shape (n, k): the model before training, the length.
        public_scores, public_features: of known non-members, shapes (m,), (m, k).
        quantile: in (0, 1): the false positive rate is one minus this.
    Source: Bertran et al. 2023, *Scalable Membership Inference Attacks via Quantile Regression*, section 3.
    """
    if len(public_scores) < 10:
        raise AttackError("quantile regression needs at least ten public examples")
    centre, width = public_features.mean(axis=0), public_features.std(axis=0) + 1e-12
    model = QuantileRegressor(quantile=quantile, alpha=0.0).fit((public_features - centre) / width, public_scores)
    return np.asarray(scores - model.predict((features - centre) / width))


def fedmia_scores(scores: Floats, others: Sequence[Floats]) -> Floats:
    """FedMIA: one-tailed likelihood of a client's scores under the law of the other clients', over rounds.

    Σ over rounds of log Pr[N(other clients) < score]: the others' updates stand for models that never saw the example.

    Args:
        scores: of the target's messages, shape (rounds, n).
        others: for each round the scores of the other clients' messages, shape (clients, n), at least two of them.
    Source: Zhu et al. 2025, *FedMIA: An Effective Membership Inference Attack Exploiting "All for One" Principle in
        Federated Learning*, section 4.
    """
    if len(scores) != len(others) or any(len(round_) < 2 or round_.shape[1:] != scores.shape[1:] for round_ in others):
        raise AttackError("FedMIA needs, in every round, the scores of two other clients at least")
    total = np.zeros(scores.shape[1])
    for mine, theirs in zip(scores, others, strict=True):
        total += norm.logcdf(mine, theirs.mean(axis=0), np.maximum(theirs.std(axis=0), 1e-9))
    return total


def _check_shadows(scores: Floats, shadow_scores: Floats, inside: np.ndarray) -> None:
    if shadow_scores.shape != inside.shape or shadow_scores.shape[1:] != scores.shape or not len(shadow_scores):
        raise AttackError(f"shadows of shape {shadow_scores.shape} do not fit {scores.shape} scores")
