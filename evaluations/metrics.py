"""How good a classifier is, and how well an attacker tells members from non-members.

Membership scores are read as the literature reads them: the whole ROC curve, the true positive rate at a low false
positive rate, and the largest advantage (Carlini et al. 2022, "Membership Inference Attacks From First Principles",
section III; Yeom et al. 2018, definition 4 for the advantage).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, auc, precision_recall_fscore_support, roc_curve

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A value with the two ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Classification:
    """Scores of one labelled split; precision, recall and F1 are macro averages, the loss is a mean in nats."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    loss: float
    majority_baseline: float
    examples: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RocCurve:
    """False and true positive rates of every threshold, from (0, 0) to (1, 1), as read-only arrays."""

    false_positive_rate: Floats
    true_positive_rate: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Membership:
    """What an attacker's scores tell apart, each with a bootstrap interval; chance is AUC 0.5 and advantage 0."""

    auc: Estimate
    tpr_at_1_percent: Estimate
    tpr_at_01_percent: Estimate
    advantage: Estimate


def classification(logits: ArrayLike, labels: ArrayLike) -> Classification:
    """Scores predictions against labels; a class that no label names does not enter the macro averages.

    Args: logits: shape (examples, classes), finite. labels: shape (examples,), integers in [0, classes).
    Raises: ValueError if shapes, values or labels do not fit.
    """
    logits_NC, labels_N = _checked(np.asarray(logits, dtype=np.float64), np.asarray(labels))
    predicted_N = logits_NC.argmax(axis=1)
    present = np.unique(labels_N)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels_N, predicted_N, labels=present, average="macro", zero_division=0.0
    )
    log_probability_N = log_softmax(logits_NC, axis=1)[np.arange(labels_N.size), labels_N]
    return Classification(
        accuracy=float(accuracy_score(labels_N, predicted_N)),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        loss=float(-log_probability_N.mean()),
        majority_baseline=float(np.bincount(labels_N).max() / labels_N.size),
        examples=int(labels_N.size),
    )


def proportion_interval(successes: int, trials: int, *, level: float = 0.95) -> Estimate:
    """A share with its score interval, which stays inside [0, 1] and is honest at 0 and 1.

    Raises: ValueError if not 0 <= successes <= trials, or trials is 0.
    Source: Wilson 1927, by way of `scipy.stats.binomtest`.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in [0, trials] and trials be positive, got {successes} of {trials}")
    interval = binomtest(successes, trials).proportion_ci(confidence_level=level, method="wilson")
    return Estimate(value=successes / trials, low=float(interval.low), high=float(interval.high))


def bootstrap(
    statistic: Callable[..., float],
    *samples: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """A statistic with its percentile bootstrap interval; each sample is resampled on its own.

    Assumes: independent entries along the first axis of every sample.
    Does not cover: a statistic at the edge of its range (a share of exactly 0 or 1 gets an interval of width 0).
    Args: statistic: called with as many arrays as `samples`. resamples: at least 2. level: in (0, 1).
    Raises: ValueError if a sample is empty or an argument is out of range.
    Source: Efron 1979; Efron and Tibshirani 1993, chapter 13.
    """
    columns = _samples(samples, resamples=resamples, level=level)
    values = [statistic(*(_resampled(column, rng) for column in columns)) for _ in range(resamples)]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value=float(statistic(*columns)), low=float(low), high=float(high))


def roc(members: ArrayLike, non_members: ArrayLike) -> RocCurve:
    """The ROC curve of the rule "a member, if the score is at least t"; ties move together.

    Args: members, non_members: shape (n,), finite; a higher score says "member".
    Raises: ValueError if a side is empty, not one-dimensional or not finite.
    """
    inside, outside = _scores(members, "members"), _scores(non_members, "non_members")
    truth = np.concatenate([np.ones(inside.size), np.zeros(outside.size)])
    fpr, tpr, _ = roc_curve(truth, np.concatenate([inside, outside]), drop_intermediate=False)
    for rates in (fpr, tpr):
        rates.flags.writeable = False
    return RocCurve(false_positive_rate=fpr, true_positive_rate=tpr)


def area(curve: RocCurve) -> float:
    """The area under the curve: the chance that a member scores above a non-member, a tie counting half."""
    return float(auc(curve.false_positive_rate, curve.true_positive_rate))


def tpr_at(curve: RocCurve, *, fpr: float) -> float:
    """The largest true positive rate of a threshold whose false positive rate is at most `fpr`.

    Does not cover: rates below 1 / (number of non-members); there it is the rate at no false positive at all.
    Raises: ValueError if fpr is outside [0, 1].
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"fpr must lie in [0, 1], got {fpr}")
    return float(curve.true_positive_rate[curve.false_positive_rate <= fpr].max())


def advantage(curve: RocCurve) -> float:
    """The largest difference between true and false positive rate over all thresholds.

    Does not cover: the search over thresholds. Chance alone lies above 0: read it beside a null control.
    """
    return float((curve.true_positive_rate - curve.false_positive_rate).max())


def membership(
    members: ArrayLike,
    non_members: ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int = 1000,
    level: float = 0.95,
) -> Membership:
    """All membership measures of one attack, with intervals from one stratified bootstrap.

    Args: members, non_members: shape (n,), finite; a higher score says "member".
    Raises: ValueError as `roc` and `bootstrap`.
    """
    inside, outside = _scores(members, "members"), _scores(non_members, "non_members")
    _samples((inside, outside), resamples=resamples, level=level)
    values = np.array([_measures(_resampled(inside, rng), _resampled(outside, rng)) for _ in range(resamples)])
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    estimates = [
        Estimate(value=value, low=float(below), high=float(above))
        for value, below, above in zip(_measures(inside, outside), low, high, strict=True)
    ]
    return Membership(
        auc=estimates[0], tpr_at_1_percent=estimates[1], tpr_at_01_percent=estimates[2], advantage=estimates[3]
    )


def _measures(members: Floats, non_members: Floats) -> tuple[float, float, float, float]:
    curve = roc(members, non_members)
    return area(curve), tpr_at(curve, fpr=0.01), tpr_at(curve, fpr=0.001), advantage(curve)


def _checked(logits_NC: Floats, labels_N: NDArray[Any]) -> tuple[Floats, NDArray[np.int64]]:
    if logits_NC.ndim != 2 or labels_N.shape != logits_NC.shape[:1] or labels_N.size == 0:
        raise ValueError(f"logits (examples, classes) do not fit labels: {logits_NC.shape} and {labels_N.shape}")
    if not np.isfinite(logits_NC).all():
        raise ValueError("logits must be finite; the model diverged, or a layer returned NaN")
    if labels_N.dtype.kind not in "iu" or labels_N.min() < 0 or labels_N.max() >= logits_NC.shape[1]:
        raise ValueError(f"labels must be integers in [0, {logits_NC.shape[1]})")
    return logits_NC, labels_N.astype(np.int64)


def _scores(values: ArrayLike, side: str) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"scores of {side} must be a non-empty vector of finite numbers, got shape {scores.shape}")
    return scores


def _samples(samples: tuple[ArrayLike, ...], *, resamples: int, level: float) -> list[NDArray[Any]]:
    columns = [np.asarray(sample) for sample in samples]
    if not columns or any(column.ndim == 0 or column.shape[0] == 0 for column in columns):
        raise ValueError("bootstrap needs at least one sample, and none may be empty")
    if resamples < 2 or not 0 < level < 1:
        raise ValueError(f"resamples must be at least 2 and level in (0, 1), got {resamples} and {level}")
    return columns


def _resampled(column: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    drawn: NDArray[Any] = rng.choice(column, size=column.shape[0], axis=0)
    return drawn
