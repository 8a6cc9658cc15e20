"""Sets the public validation and test splits apart from what the clients will hold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpeft_secure.data.duplicates import duplicate_clusters
from fedpeft_secure.data.examples import LabelledTexts
from fedpeft_secure.errors import DataError
from fedpeft_secure.seeds import Seed

_TRAINING, _VALIDATION, _TEST = range(3)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Splits:
    """Three parts of one data set that share no text, nor nearly the same text."""

    training: LabelledTexts
    validation: LabelledTexts
    test: LabelledTexts


def split(
    examples: LabelledTexts, *, classes: tuple[str, ...], validation_fraction: float, test_fraction: float, seed: Seed
) -> Splits:
    """Draws validation and test, stratified by label; near-duplicates stay on one side.

    Args:
        examples: all examples.
        classes: the name of each label.
        validation_fraction: public share of each class, in (0, 0.5).
        test_fraction: likewise.
        seed: of the split alone, so that runs with other seeds are measured on the same test split.
    Raises:
        DataError: a class is too small to stand in all three parts.
    """
    counts = np.bincount(examples.labels, minlength=len(classes))
    fractions = np.array([0.0, validation_fraction, test_fraction])
    targets = np.maximum(1, np.rint(np.outer(fractions, counts))).astype(np.int64)
    order = seed.child("data", "split").permutation(len(examples))
    part = _assign(examples.labels, clusters=duplicate_clusters(examples.texts), order=order, targets=targets)
    for label, name in enumerate(classes):
        if np.bincount(part[examples.labels == label], minlength=3).min() == 0:
            raise DataError(
                f"data.label: class {name!r} has {counts[label]} examples, too few different ones for a training, "
                "validation and test part each: add examples or leave the class out"
            )
    training, validation, test = (examples.take(order[part[order] == which]) for which in range(3))
    return Splits(training=training, validation=validation, test=test)


def _assign(
    labels: NDArray[np.int64], *, clusters: NDArray[np.int64], order: NDArray[np.int64], targets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The part of each example: whole clusters, in random order, go where all their labels still have room.

    Args:
        labels: (n,) classes.
        clusters: (n,) clusters of near-duplicates.
        order: (n,) random order.
        targets: (3, C) how many examples of each class each part wants; training takes the rest.
    """
    contents = np.zeros((clusters.max() + 1, targets.shape[1]), dtype=np.int64)
    np.add.at(contents, (clusters, labels), 1)
    part = np.full(len(contents), _TRAINING, dtype=np.int64)
    room = targets.copy()
    _, first = np.unique(clusters[order], return_index=True)
    for cluster in clusters[order][np.sort(first)]:
        for which in (_VALIDATION, _TEST):
            if (contents[cluster] <= room[which]).all():
                room[which] -= contents[cluster]
                part[cluster] = which
                break
    return part[clusters]
