"""Labels out of the classifier's bias: its gradient is Σ (softmax − one-hot), which no later layer mixes.

At batch 1 the only negative coordinate is the label's. In a sum of n examples coordinate c is Σ pᵢ(c) − n(c), so that
n(c) ≈ n·p̄(c) − g(c), with the model's mean prediction p̄ on public texts.
Source: Zhao, Mopuri and Bilen 2020 (iDLG) for the sign; Yin et al. 2021 for counts.
"""

from dataclasses import dataclass, field

import numpy as np

from attacks.base import Floats, Granularity, View
from attacks.errors import NotApplicableError
from fedpeft_secure.adapters import Role, unflatten


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelGuess:
    """How many examples of each class were in the batch.

    Args:
        counts: shape (classes,), non-negative, adding up to the assumed size.
    """

    counts: Floats = field(repr=False)

    @property
    def label(self) -> int:
        """The class of which there are most: the label itself at batch 1."""
        return int(self.counts.argmax())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelInference:
    """Reads labels from the update of the classifier's bias after one step of SGD.

    Args:
        examples: how many there were, or are assumed to have been.
        mean_prediction: the model's mean class probabilities on public texts, shape (classes,).
        needs: works on sums.
    """

    examples: int
    mean_prediction: Floats = field(repr=False)
    needs: Granularity = Granularity.SUM

    def run(self, view: View, *, rng: np.random.Generator) -> LabelGuess:
        """Counts labels.

        The update is −η times the gradient of a mean, perhaps scaled down by clipping: at batch 1 its scale is fixed by
        the sign alone; above it the scale is taken as 1.

        Raises:
            NotApplicableError: If no bias of a head is trained.
        """
        del rng  # nothing is drawn
        names = [
            entry.name for entry in view.trained.entries if entry.role is Role.HEAD and entry.name.endswith("bias")
        ]
        fitting = [name for name in names if view.before[name].shape == self.mean_prediction.shape]
        if not fitting:
            raise NotApplicableError("label inference reads the classifier's bias, which is not trained here")
        gradient = -unflatten(view.observed, view.trained)[fitting[-1]] / view.plan.learning_rate
        if self.examples == 1:
            return LabelGuess(counts=np.eye(len(gradient))[int(gradient.argmin())])
        counts = np.clip(self.examples * (self.mean_prediction - gradient), 0.0, None)
        return LabelGuess(counts=counts * self.examples / max(counts.sum(), 1e-12))
