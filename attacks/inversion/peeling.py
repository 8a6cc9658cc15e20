"""Takes sentences that were found out of an update, so that the others stand out.

After one step of SGD an update is a sum over sentences, and whoever has the model computes what a sentence alone would
have sent, up to its weight and its label. Once some sentences of a batch are known, their part is fitted and taken
away: what is left is the update of a smaller batch, with fewer tokens in every layer. The fit is also the strictest
test of a sentence: each number of the update has its say, and a wrong sentence is given no weight beside the right one.
Source: successive cancellation as receivers of several senders do it; its use on updates is ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import nnls

from attacks.base import Floats, View
from attacks.inversion.hidden import Sentence

Echo = Callable[[View, Sentence], Floats]
"""What one sentence, special tokens included, alone would have sent: a row for each label, shape (C, trained.size)."""

SAME_WEIGHT = 0.1
"""Share of the largest weight that a sentence of the batch has at least. All have the same once all are known; before,
the weights of those that are known make up for the others, and shares of 0.4 were measured."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Peeled:
    """An update without what some sentences explain of it.

    Args:
        rest: the view with what is left.
        weights: of each sentence in the update; 0 where it is no part of it.
    """

    rest: View = field(repr=False)
    weights: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Peeler:
    """Fits sentences to one update; no sentence is computed twice.

    Args:
        view: the update.
        echo: what sentences would have sent.
    """

    view: View = field(repr=False)
    echo: Echo = field(repr=False)
    _known: dict[Sentence, Floats] = field(default_factory=dict, repr=False)

    def peel(self, sentences: Sequence[Sentence]) -> Peeled:
        """The update without the non-negative combination of the sentences' own updates that is nearest to it."""
        rows = np.stack([self._own(sentence) for sentence in sentences])
        count, labels = rows.shape[:2]
        # Rows of one sentence depend on one another: all of them together tell the labels, and no weights.
        free = _fit(rows.reshape(count * labels, -1), self.view.observed).reshape(count, labels)
        parts = np.einsum("nc,ncd->nd", free, rows)
        cosines = np.einsum("nd,ncd->nc", parts, rows) / np.linalg.norm(rows, axis=2)
        chosen = rows[np.arange(count), cosines.argmax(axis=1)]
        weights = _fit(chosen, self.view.observed)
        return Peeled(
            rest=replace(self.view, observed=self.view.observed - weights @ chosen),
            weights=tuple(weights.tolist()),
        )

    def keep(self, sentences: Sequence[Sentence]) -> tuple[Sentence, ...]:
        """Those that the update gives a weight beside that of the heaviest."""
        if not sentences:
            return ()
        weights = self.peel(sentences).weights
        return tuple(
            one for one, weight in zip(sentences, weights, strict=True) if weight > SAME_WEIGHT * max(weights) > 0
        )

    def _own(self, sentence: Sentence) -> Floats:
        if sentence not in self._known:
            self._known[sentence] = self.echo(self.view, sentence)
        return self._known[sentence]


def _fit(rows: Floats, observed: Floats) -> Floats:
    """The weights ≥ 0 with which the rows come nearest to what was observed, one a row."""
    corner = np.asarray(np.linalg.qr(np.column_stack([rows.T, observed]), mode="r"))
    return np.asarray(nnls(corner[:, :-1], corner[:, -1])[0])
