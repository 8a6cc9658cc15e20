"""The ROC curve of scores that should tell two groups apart, and what is read off it.

The whole curve, the true positive rate at a low false positive rate, and the largest advantage (Carlini et al. 2022,
*Membership Inference Attacks From First Principles*, section III; Yeom et al. 2018, definition 4 for the advantage).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import auc, roc_curve

from attacks.base import Floats
from attacks.errors import AttackError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RocCurve:
    """False and true positive rates of every threshold, from (0, 0) to (1, 1), as read-only arrays."""

    false_positive_rate: Floats
    true_positive_rate: Floats


def roc(members: ArrayLike, non_members: ArrayLike) -> RocCurve:
    """The ROC curve of the rule "a member, if the score is at least t"; ties move together.

    Args: members, non_members: shape (n,), finite; a higher score says "member".
    Raises: AttackError if a side is empty, not one-dimensional or not finite.
    """
    inside, outside = _scores(members, "members"), _scores(non_members, "non_members")
    truth = np.concatenate([np.ones(inside.size), np.zeros(outside.size)])
    fpr, tpr, _ = roc_curve(truth, np.concatenate([inside, outside]), drop_intermediate=False)
    for rates in (fpr, tpr):
        rates.flags.writeable = False
    return RocCurve(false_positive_rate=fpr, true_positive_rate=tpr)


def corners(curve: RocCurve, *, members: int, non_members: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(true positives, false positives) at the corners of a curve, as counts; points on straight steps are left out.

    Args: members, non_members: how many scores of either kind made the curve.
    """
    true = np.rint(curve.true_positive_rate * members).astype(np.int64)
    false = np.rint(curve.false_positive_rate * non_members).astype(np.int64)
    kept = np.concatenate([[True], (np.diff(true, 2) != 0) | (np.diff(false, 2) != 0), [True]])
    return tuple(true[kept].tolist()), tuple(false[kept].tolist())


def curve_of(true_positives: tuple[int, ...], false_positives: tuple[int, ...]) -> RocCurve:
    """The curve with these corners; the last counts are everybody."""
    return RocCurve(
        false_positive_rate=np.array(false_positives) / false_positives[-1],
        true_positive_rate=np.array(true_positives) / true_positives[-1],
    )


def area(curve: RocCurve) -> float:
    """The area under the curve: the chance that a member scores above a non-member, a tie counting half.

    Not that under its convex hull, which no attacker reaches without knowing who is a member.
    """
    return float(auc(curve.false_positive_rate, curve.true_positive_rate))


def tpr_at(curve: RocCurve, *, fpr: float) -> float:
    """The largest true positive rate of a threshold whose false positive rate is at most `fpr`.

    Does not cover: rates below 1 / (number of non-members); there it is the rate at no false positive at all.
    Raises: AttackError if fpr is outside [0, 1].
    """
    if not 0 <= fpr <= 1:
        raise AttackError(f"fpr must lie in [0, 1], got {fpr}")
    return float(curve.true_positive_rate[curve.false_positive_rate <= fpr].max())


def advantage(curve: RocCurve) -> float:
    """The largest difference between true and false positive rate over all thresholds.

    Does not cover: the search over thresholds. Chance alone lies above 0: read it beside a null control.
    """
    return float((curve.true_positive_rate - curve.false_positive_rate).max())


def _scores(values: ArrayLike, side: str) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise AttackError(f"scores of {side} must be a non-empty vector of finite numbers, got shape {scores.shape}")
    return scores
