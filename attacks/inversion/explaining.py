"""Which batch explains an update: the test of sentences that rounding to 16 bits leaves standing.

A layer's ∂A is M X and noise, where the rows of X are the inputs of all tokens of the batch and M is unknown. For a
batch that is guessed M is fitted by least squares, and what is left over is compared with the noise that is known to be
there. No direction has to be told from noise for that: weak tokens count for what they are, and a right batch leaves
noise alone, in every layer. In the first layer each right word counts by itself, in later ones the words of one
sentence in their order.
Source: likelihood ratios of nested linear models with known noise; their use on candidate batches is ours.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from attacks.base import Floats
from attacks.inversion.factors import Factor
from attacks.inversion.hidden import Run, Sentence

Batch = tuple[Sentence, ...]

RIDGE = 1e-9
"""Added to Gram matrices, relative to their rows' energy: tokens that two sentences share are counted once."""

DEPENDENT = 1e-6
"""Singular values below this share of the largest are no direction of their own."""

COST = 1.5
"""What a fitted number must explain, as a multiple of what it takes up by chance."""

SLACK, SURE = 0.05, 4.0
"""What a right batch may leave over beyond its noise: a share of it, or so many standard errors if that is more. One
wrong word in eight sentences left 1.14 of the third layer of MiniLM, and right batches 0.99 to 1.01 of any."""

REMEMBERED = 4000
"""Sentences whose inputs are kept."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Explainer:
    """Fits batches to the ∂A of some layers.

    Args:
        factors: of route "A", one for each layer, with a noise above 0.
        run: sentences → the inputs of these layers.
    """

    factors: dict[int, Factor] = field(repr=False)
    run: Run = field(repr=False)
    _known: dict[Sentence, dict[int, Floats]] = field(default_factory=dict, repr=False)

    def gains(self, others: Batch, candidates: Sequence[Batch]) -> Floats:
        """What each candidate explains beside `others`, less what so many numbers must; in variances of the noise.

        Args:
            others: sentences that are taken as given.
            candidates: one or more sentences each, which are added together.

        Returns:
            Shape (candidates,); above 0 the candidate is better in the batch than out of it.
        """
        self._learn([*others, *(one for batch in candidates for one in batch)])
        alike: dict[int, list[int]] = defaultdict(list)
        for index, batch in enumerate(candidates):
            alike[sum(map(len, batch))].append(index)
        total = np.zeros(len(candidates))
        for layer, factor in self.factors.items():
            given = _basis(self._rows(others, layer)) if others else None
            for tokens, where in alike.items():
                rows = np.stack([self._rows(candidates[index], layer) for index in where])
                total[where] += _explained(factor, given, rows) - COST * len(factor.observed) * tokens
        return total

    def left_over(self, batch: Batch) -> dict[int, float]:
        """What a batch does not explain of each layer, as a multiple of the noise: near 1 for the right one."""
        return {layer: rest for layer, (rest, _) in self._rest(batch).items()}

    def explains(self, batch: Batch) -> bool:
        """Whether nothing but noise is left of any layer."""
        return all(rest <= 1.0 + max(SLACK, SURE * (2.0 / free) ** 0.5) for rest, free in self._rest(batch).values())

    def _rest(self, batch: Batch) -> dict[int, tuple[float, int]]:
        """For each layer the mean square of what is left, in variances of the noise, and its degrees of freedom."""
        self._learn(batch)
        result = {}
        for layer, factor in self.factors.items():
            basis = _basis(self._rows(batch, layer))
            outside = factor.observed - factor.observed @ basis.T @ basis
            free = max(len(factor.observed) * (factor.observed.shape[1] - len(basis)), 1)
            result[layer] = (float(np.square(outside).sum()) / factor.noise_stddev**2 / free, free)
        return result

    def _rows(self, batch: Batch, layer: int) -> Floats:
        return np.concatenate([self._known[one][layer] for one in batch]).astype(np.float64)

    def _learn(self, sentences: Sequence[Sentence]) -> None:
        if len(self._known) > REMEMBERED:
            self._known.clear()
        unknown = list(dict.fromkeys(one for one in sentences if one not in self._known))
        if not unknown:
            return
        inputs = self.run(unknown)
        ends = np.cumsum([0, *map(len, unknown)])
        for one, start, end in zip(unknown, ends, ends[1:], strict=False):
            self._known[one] = {layer: inputs[layer][start:end].astype(np.float32) for layer in self.factors}


def _basis(rows: Floats) -> Floats:
    """Orthonormal rows with the same span."""
    values, right = np.linalg.svd(rows, full_matrices=False)[1:]
    return np.asarray(right[values > DEPENDENT * values[0]])


def _explained(factor: Factor, given: Floats | None, rows: Floats) -> Floats:
    """Energy of the factor in the span of each candidate's rows (b, t, n) outside that of the given, shape (b,)."""
    observed = factor.observed / factor.noise_stddev
    ridge = RIDGE * np.einsum("btn,btn->b", rows, rows) / rows.shape[1]
    if given is not None:
        rows, observed = rows - rows @ given.T @ given, observed - observed @ given.T @ given
    gram = rows @ rows.transpose(0, 2, 1) + ridge[:, None, None] * np.eye(rows.shape[1])
    cross = rows @ observed.T
    return np.asarray(np.einsum("btr,btr->b", cross, np.linalg.solve(gram, cross)))
