"""How good a classifier is, and shares with their intervals; what attackers tell apart is in `attacks.roc`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from attacks.intervals import wilson

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

    Raises: AttackError if not 0 <= successes <= trials, or trials is 0.
    Source: Wilson 1927, by way of `scipy.stats.binomtest`.
    """
    low, high = wilson(successes, trials, level=level)
    return Estimate(value=successes / trials, low=low, high=high)


def _checked(logits_NC: Floats, labels_N: NDArray[Any]) -> tuple[Floats, NDArray[np.int64]]:
    if logits_NC.ndim != 2 or labels_N.shape != logits_NC.shape[:1] or labels_N.size == 0:
        raise ValueError(f"logits (examples, classes) do not fit labels: {logits_NC.shape} and {labels_N.shape}")
    if not np.isfinite(logits_NC).all():
        raise ValueError("logits must be finite; the model diverged, or a layer returned NaN")
    if labels_N.dtype.kind not in "iu" or labels_N.min() < 0 or labels_N.max() >= logits_NC.shape[1]:
        raise ValueError(f"labels must be integers in [0, {logits_NC.shape[1]})")
    return logits_NC, labels_N.astype(np.int64)
