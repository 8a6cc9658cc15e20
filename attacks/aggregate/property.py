"""Property inference: does the data behind a message have a property that is nobody's task?

A classifier on shadow messages with and without it (Melis et al. 2019, *Exploiting Unintended Feature Leakage in
Collaborative Learning*, section 5).
"""

from dataclasses import dataclass, field

import numpy as np
from sklearn.linear_model import LogisticRegression

from attacks.base import Floats, Granularity, View
from attacks.errors import AttackError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PropertyInference:
    """Scores a message by how much it looks like those with the property.

    Args:
        with_property: shadow messages with the property, shape (n, dim), from the same adapter.
        without: the same without it, shape (m, dim).
        projected: dimensions of the random projection that the classifier reads; shadows are few.
        needs: works on sums.
    """

    with_property: Floats = field(repr=False)
    without: Floats = field(repr=False)
    projected: int = 256
    needs: Granularity = Granularity.SUM

    def __post_init__(self) -> None:
        if min(len(self.with_property), len(self.without)) < 2:
            raise AttackError("property inference needs two shadow messages of each kind at least")

    def run(self, view: View, *, rng: np.random.Generator) -> float:
        """Log-odds of the property."""
        return float(self.score(view.observed[None], rng=rng)[0])

    def score(self, messages: Floats, *, rng: np.random.Generator) -> Floats:
        """Log-odds of the property for every message, shape (k,).

        Args: messages: shape (k, dim). rng: of the projection.
        """
        shadows = np.concatenate([self.with_property, self.without])
        labels = np.repeat([1, 0], [len(self.with_property), len(self.without)])
        projection = rng.normal(size=(shadows.shape[1], self.projected)) / np.sqrt(self.projected)
        centre = shadows.mean(axis=0)
        seen = (shadows - centre) @ projection
        scale = float(np.sqrt(np.mean(np.square(seen)))) or 1.0
        classifier = LogisticRegression(C=1.0, max_iter=2000).fit(seen / scale, labels)
        return np.asarray(classifier.decision_function((messages - centre) @ projection / scale), dtype=np.float64)
