"""Span inversion: reads words out of one message, or a sum of messages, by the first layer's row spaces.

One sentence comes back from the first layer alone, whose dictionary holds the positions. The several sentences of a
batch are told apart by the later layers (`assembly.py`), which also confirm a single one.

The attack is exact up to the *token budget* of distinct (position, token) pairs in the batch: r·m through ∂A (m modules
that share the layer's input), r − 1 through ∂B, the only route where A is frozen. Above it the row spaces are full and
nothing can be told; the attack then claims nothing.
Source: Petrov et al. 2024 (DAGER), adapted to low-rank updates of encoders, where the position is in the dictionary and
a sentence comes back in order.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import logsumexp

from attacks.base import Floats, Granularity, View
from attacks.errors import AttackError, NotApplicableError
from attacks.inversion.assembly import Fit, Pool, assemble, explain, fit_of, guide_of
from attacks.inversion.batches import BatchSearch
from attacks.inversion.dictionary import Dictionary
from attacks.inversion.evidence import TOKEN_PRECISION, Evidence, find_span, weigh
from attacks.inversion.explaining import Explainer
from attacks.inversion.factors import Factor, LayerFactors, read_layer
from attacks.inversion.frames import SpecialTokens
from attacks.inversion.hidden import Forward, Sentence
from attacks.inversion.peeling import Echo, Peeler
from attacks.inversion.words import find_words, last_place

Pair = tuple[int, int]
"""(position, token)"""

CLAIM = 0.95
"""Posterior probability above which the attack claims a token."""

SHADOW = 1e9
"""Taken off the log-likelihood ratio of shadows: they come last, in their own order."""

FRAME = 2
"""Special tokens of a text: one before, one behind."""

LOST = float(np.log(1e-3))
"""Log-likelihood ratio at least granted to a token, whose own gradient may be below the noise."""

LATER = (1, 2)
"""Layers that tell which words belong together; further ones only add the arithmetic's own errors."""

LIKELY, FEWEST, POSSIBLE = 12, 3, 40
"""Words tried at a position: as many as the evidence is for within the first two, and the last where none fits."""

EXPLAINED = (0, 1, 2)
"""Layers whose ∂A a batch must explain where the update is coarse."""

COARSE = 0.01
"""Noise, as a share of the second layer's update, above which directions are lost in it. The later layers' likelihood
then no longer tells sentences: at 16 bits (0.1) it confirmed false ones, at 24 bits (4e-4) none."""

SPARE_PLACES = 1
"""Places behind the last one that has evidence: the end of the longest text may be weak."""

PEELINGS = 12
"""Times at most that found sentences are taken out of an update."""

LENGTHS, SURE_LENGTHS = 8, 2
"""Lengths of texts that are tried at most, and those that are tried whatever the evidence for them."""

REACH = 2
"""Positions looked at, as a multiple of the token budget: beyond it nothing fits."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TextGuess:
    """What span inversion brought back.

    Args:
        ranked: the best candidates at every position, as many as there are contributors; none without evidence.
        claimed: the part of them that the attack stands for.
        sentence: one text in order, without special tokens; empty if the evidence is against any text.
        token_budget: distinct pairs up to which recovery is exact.
        directions: dimensions of the row spaces that were told from noise.
        sentences: all texts that the later layers confirm, without special tokens, best first.
        bag: tokens that are claimed wherever they stand, without public ones; None where places are read with them.
    """

    ranked: frozenset[Pair]
    claimed: frozenset[Pair]
    sentence: Sentence
    token_budget: int
    directions: int
    sentences: tuple[Sentence, ...] = ()
    bag: frozenset[int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SpanInversion:
    """Reads the words of a batch from a LoRA update of a BERT-like encoder.

    Args:
        dictionary: everything that the first layer can be given.
        special: the tokenizer's frame.
        log_prior: log-probability of each token in texts of this kind, from public texts, shape (V,).
        relative_precision: error of the client's arithmetic, relative to a gradient's entries.
        forward: the model, to confirm and to tell apart whole sentences; without it there is one sentence at most.
        token_precision: error of the features that a client used, relative to theirs: rounding, or its dropout.
        echo: what single sentences would send, to take found ones out of the update; None where that is no sum.
        needs: works on sums.
    """

    dictionary: Dictionary = field(repr=False)
    special: SpecialTokens
    log_prior: Floats = field(repr=False)
    relative_precision: float
    forward: Forward | None = field(default=None, repr=False)
    token_precision: float = TOKEN_PRECISION
    echo: Echo | None = field(default=None, repr=False)
    needs: Granularity = Granularity.SUM

    def __post_init__(self) -> None:
        if self.log_prior.shape != (self.dictionary.vocabulary,):
            raise AttackError(f"SpanInversion.log_prior must have shape ({self.dictionary.vocabulary},)")

    def run(self, view: View, *, rng: np.random.Generator) -> TextGuess:
        """Tests every candidate, ranks them by position and assembles a sentence.

        Raises:
            NotApplicableError: If the view's update does not touch the first layer.
        """
        layer = read_layer(view, 0, relative_precision=self.relative_precision)
        evidence = self._weigh(self._near(layer), layer)
        later = self._later(view)
        ranked = self._ranked(evidence, len(view.contributors))
        if later is None or evidence.freedom == 0:
            sentence = self._sentence(evidence)
            # A batch within the budget explains a whole text. Where none fits, a lone good fit is chance.
            believed = 0 < len(sentence) <= layer.token_budget - FRAME
            claimed = self._claimed(evidence) if believed else frozenset()
            sentences: tuple[Sentence, ...] = ()
        else:
            found = self._within(self._search(view, layer, evidence, later, rng), layer.token_budget)
            claimed = self._plain(pair for one in found for pair in enumerate(one))
            sentences = tuple(one[1:-1] for one in found)
            sentence = sentences[0] if sentences else self._sentence(evidence)
        return TextGuess(
            ranked=ranked | claimed,
            claimed=claimed,
            sentence=sentence,
            sentences=sentences,
            token_budget=layer.token_budget,
            directions=evidence.directions,
        )

    def _weigh(self, table: Dictionary, layer: LayerFactors) -> Evidence:
        return weigh(table, tuple(map(find_span, layer.factors)), token_precision=self.token_precision)

    def _later(self, view: View) -> tuple[Fit, Fit] | None:
        """The guide and the judge of whole sentences, where later layers are trained and say anything."""
        if self.forward is None:
            return None
        spans = {}
        for layer in LATER:
            try:
                found = read_layer(view, layer, relative_precision=self.relative_precision)
            except NotApplicableError:
                break
            spans[layer] = tuple(map(find_span, found.factors))
        telling = {layer: own for layer, own in spans.items() if any(span.outside for span in own)}
        if not telling:
            return None
        guide = guide_of(telling[min(telling)], min(telling), self.forward, view.before)
        return guide, fit_of(telling, self.forward, view.before, token_precision=self.token_precision)

    def _search(
        self, view: View, layer: LayerFactors, evidence: Evidence, later: tuple[Fit, Fit], rng: np.random.Generator
    ) -> tuple[Sentence, ...]:
        """Sentences that the later layers confirm; what they explain is taken away, and the rest searched again.

        A coarse update confirms none by itself: there a batch must explain all of it.
        """
        explainer, words = self._explainer(view), self._words(layer, evidence)
        if explainer is not None and words is not None:
            return self._explain(layer, evidence, words, explainer, rng)
        found = self._assemble(layer, evidence, later, rng)
        if self.echo is None or not found:
            return found
        peeler = Peeler(view=view, echo=self.echo)
        kept: tuple[Sentence, ...] = ()
        for _ in range(PEELINGS):
            better = peeler.keep(tuple(dict.fromkeys((*kept, *found))))
            if len(better) <= len(kept):
                break
            kept, rest = better, peeler.peel(better).rest
            layer = read_layer(rest, 0, relative_precision=self.relative_precision)
            evidence, spans = self._weigh(self._near(layer), layer), self._later(rest)
            if spans is None or evidence.freedom == 0:
                break
            found = self._assemble(layer, evidence, spans, rng)
        return kept

    def _explainer(self, view: View) -> Explainer | None:
        """For a coarse sum over the sentences of one step; None for others."""
        if self.forward is None or self.echo is None:
            return None
        factors: dict[int, Factor] = {}
        for layer in EXPLAINED:
            try:
                found = read_layer(view, layer, relative_precision=self.relative_precision)
            except NotApplicableError:
                break
            stacked = _stacked(found)
            if stacked is not None:
                factors[layer] = stacked
        if 0 not in factors or LATER[0] not in factors or not _coarse(factors[LATER[0]]):
            return None
        return Explainer(factors=factors, run=self.forward.reading(view.before, [*factors]))

    def _words(self, layer: LayerFactors, evidence: Evidence) -> tuple[int, ...] | None:
        """The words of the batch, special ones included, or None where they cannot be told apart."""
        stacked = _stacked(layer)
        return None if stacked is None else find_words(self._near(layer), stacked, evidence.log_ratio)

    def _explain(
        self,
        layer: LayerFactors,
        evidence: Evidence,
        words: tuple[int, ...],
        explainer: Explainer,
        rng: np.random.Generator,
    ) -> tuple[Sentence, ...]:
        plain = tuple(word for word in words if word not in self.special.tokens)
        if not plain:
            return ()
        search = BatchSearch(
            explainer=explainer,
            words=plain,
            log_ratio=evidence.log_ratio,
            longest=max(last_place(self._near(layer), explainer.factors[0], words) - FRAME + 1 + SPARE_PLACES, 1),
            first=self.special.first,
            last=self.special.last,
        )
        return search.run(rng=rng)

    def _near(self, layer: LayerFactors) -> Dictionary:
        """The candidates at the positions that are looked at."""
        return self.dictionary.first(max(REACH * layer.token_budget, FRAME + 1))

    def _assemble(
        self, layer: LayerFactors, evidence: Evidence, later: tuple[Fit, Fit], rng: np.random.Generator
    ) -> tuple[Sentence, ...]:
        """Sentences of the words that were found, which the later layers confirm."""
        words = self._words(layer, evidence)
        if words == ():
            return ()
        kept = explain([one for batch in assemble(self._pool(evidence, words), *later, rng=rng) for one in batch])
        return tuple(one.sentence for one in kept)

    def _within(self, found: tuple[Sentence, ...], token_budget: int) -> tuple[Sentence, ...]:
        """None of them if together they are more than the first layer can tell."""
        return found if len({pair for one in found for pair in enumerate(one)}) <= token_budget else ()

    def _pool(self, evidence: Evidence, words: tuple[int, ...] | None) -> Pool:
        joint = evidence.log_ratio + self.log_prior[:, None]
        if words is not None:
            joint[np.setdiff1d(np.arange(len(joint)), words)] = -np.inf
        joint[[self.special.first, self.special.last, self.special.padding]] = -np.inf
        likely, possible = [], []
        for position in range(1, joint.shape[1]):
            best = np.argsort(-joint[:, position])[:POSSIBLE]
            best = best[np.isfinite(joint[best, position])]
            backed = int((evidence.log_ratio[best[:LIKELY], position] > 0).sum())
            likely.append(tuple(best[: max(backed, FEWEST)].tolist()))
            possible.append(tuple(best.tolist()))
        ends = evidence.log_ratio[self.special.last, FRAME:]
        order = np.argsort(-ends)[:LENGTHS]
        return Pool(
            likely=tuple(likely),
            possible=tuple(possible),
            lengths=tuple(int(index) + 1 for rank, index in enumerate(order) if rank < SURE_LENGTHS or ends[index] > 0),
            first=(self.special.first,),
            last=(self.special.last,),
        )

    def _ranked(self, evidence: Evidence, count: int) -> frozenset[Pair]:
        if evidence.freedom == 0:
            return frozenset()
        order = np.argsort(-self._joint(evidence), axis=0)[:count]
        return self._plain(
            (position, token) for token_row in order for position, token in enumerate(token_row.tolist())
        )

    def _claimed(self, evidence: Evidence) -> frozenset[Pair]:
        if evidence.freedom == 0:
            return frozenset()
        tokens, positions = np.nonzero((evidence.posterior(self.log_prior) > CLAIM) & evidence.consistent)
        return self._plain(zip(positions.tolist(), tokens.tolist(), strict=True))

    def _plain(self, pairs: Iterable[Pair]) -> frozenset[Pair]:
        return frozenset((position, token) for position, token in pairs if token not in self.special.tokens)

    def _joint(self, evidence: Evidence) -> Floats:
        """Evidence and prior of every candidate, without special tokens and with shadows behind all others.

        A shadow is a word with a strong gradient that also fits passably at positions where it does not stand.
        """
        joint = evidence.log_ratio + self.log_prior[:, None]
        best = evidence.log_ratio.max(axis=1, keepdims=True)
        joint[(evidence.log_ratio < best) & ~evidence.consistent] -= SHADOW
        joint[[self.special.first, self.special.last, self.special.padding]] = -np.inf
        return joint

    def _sentence(self, evidence: Evidence) -> tuple[int, ...]:
        """The best token at each position from the first to the likeliest end of the text."""
        if evidence.freedom == 0:
            return ()
        joint = self._joint(evidence)
        inside = np.maximum(logsumexp(joint, axis=0), LOST)
        ends = np.maximum(evidence.log_ratio[self.special.last], LOST)
        # totals[i]: evidence for a text whose words stand at positions 1 … i and whose end is at i + 1.
        totals = np.cumsum(inside[1:-1]) + ends[2:]
        length = int(totals.argmax()) + 1
        if totals[length - 1] <= 0:
            return ()
        return tuple(joint[:, 1 : length + 1].argmax(axis=0).tolist())


def _stacked(layer: LayerFactors) -> Factor | None:
    """The layer's ∂A, where it is sent."""
    return next((factor for factor in layer.factors if factor.route == "A"), None)


def _coarse(factor: Factor) -> bool:
    return factor.noise_stddev > COARSE * float(np.sqrt(np.mean(np.square(factor.observed))))


def token_log_prior(texts: Iterable[Iterable[int]], *, vocabulary: int) -> Floats:
    """How often each token stands in public texts, mixed half and half with "any token", as logarithms.

    Args:
        texts: token ids of each public text.
        vocabulary: V.
    """
    counts = np.zeros(vocabulary)
    for ids in texts:
        np.add.at(counts, np.fromiter(ids, dtype=np.int64), 1.0)
    seen = counts / max(counts.sum(), 1.0)
    return np.asarray(np.log(0.5 * seen + 0.5 / vocabulary))
