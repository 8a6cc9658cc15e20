"""Span inversion of models whose first layer sees tokens without their places: decoders and T5.

The first layer tells which tokens there are, the later ones in which order they stand. What comes back is exact up to
the *token budget* of either: r·m through ∂A (m modules that share the layer's input), r − 1 through ∂B. In the first
layer it counts distinct tokens, in later ones every prefix of a decoder and every token of T5: it is there that a batch
is too large first. Where the order cannot be told, the tokens alone are claimed, by no place.
Source: Petrov et al. 2024 (DAGER), sections 4 and 5, adapted to low-rank updates.
"""

from dataclasses import dataclass, field

import numpy as np

from attacks.base import Granularity, View
from attacks.errors import NotApplicableError
from attacks.inversion.bags import find_bag
from attacks.inversion.dictionary import Dictionary
from attacks.inversion.evidence import Span, find_span, weigh
from attacks.inversion.factors import LayerFactors, read_layer
from attacks.inversion.growing import Grown
from attacks.inversion.hidden import Forward
from attacks.inversion.orders import Evidences, Order, Spans
from attacks.inversion.span import COARSE, TextGuess


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BagInversion:
    """Reads the tokens of a batch from a LoRA update, and puts them in order.

    Args:
        dictionary: of one place.
        order: for the kind of model.
        relative_precision: error of the client's arithmetic, relative to a gradient's entries.
        token_precision: error of the features that a client used, relative to theirs.
        forward: the model.
        needs: works on sums.
    """

    dictionary: Dictionary = field(repr=False)
    order: Order
    relative_precision: float
    token_precision: float
    forward: Forward = field(repr=False)
    needs: Granularity = Granularity.SUM

    def run(self, view: View, *, rng: np.random.Generator) -> TextGuess:
        """Finds the tokens, then the texts that are made of them.

        Raises:
            NotApplicableError: If the view's update does not touch the first layer.
        """
        layer, bag, directions = self._bag(view)
        grown = self._texts(view, layer, bag, rng)
        within = self.order.count([one.whole for one in grown]) <= layer.token_budget
        texts = [one.text for one in grown] if within else []
        frame = self.order.frame
        plain = tuple(one[len(frame.first) : len(one) - len(frame.last)] for one in texts)
        claimed = frozenset(pair for one in texts for pair in enumerate(one) if pair[1] not in frame.tokens)
        return TextGuess(
            ranked=claimed,
            claimed=claimed,
            sentence=plain[0] if plain else (),
            sentences=plain,
            token_budget=layer.token_budget,
            directions=directions,
            bag=frozenset(bag) - frame.public,
        )

    def _bag(self, view: View) -> tuple[LayerFactors, tuple[int, ...], int]:
        """The first layer, its tokens, and the directions that were told from noise."""
        layer = read_layer(view, 0, relative_precision=self.relative_precision)
        evidence = weigh(self.dictionary, self._spans(layer), token_precision=self.token_precision)
        return layer, find_bag(self.dictionary, layer, evidence), evidence.directions

    def _texts(
        self, view: View, layer: LayerFactors, bag: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[Grown, ...]:
        spans = self._later(view)
        if not bag or not spans:
            return ()
        found = Evidences(
            words=bag,
            spans=spans,
            forward=self.forward,
            before=view.before,
            token_precision=self.token_precision,
            token_budget=layer.token_budget,
        )
        return self.order.texts(found, rng=rng)

    def _later(self, view: View) -> Spans:
        """The later layers that are trained and say anything; none where the noise hides directions of the first."""
        spans: Spans = {}
        for layer in self.order.layers:
            try:
                found = read_layer(view, layer, relative_precision=self.relative_precision)
            except NotApplicableError:
                break
            own = self._spans(found)
            if not spans and all(_coarse(span) for span in own):
                break
            if any(span.outside for span in own):
                spans[layer] = own
        return spans

    def _spans(self, layer: LayerFactors) -> tuple[Span, ...]:
        return tuple(map(find_span, self.order.holding(layer.factors)))


def _coarse(span: Span) -> bool:
    factor = span.factor
    return factor.noise_stddev > COARSE * float(np.sqrt(np.mean(np.square(factor.observed))))
