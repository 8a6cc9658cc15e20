"""Which tokens an update has, of a model that adds no positions before its first layer: a set without an order.

Decoders with rotary positions and T5 give their first attention a normalised embedding, so that a token looks the same
wherever it stands. The dictionary has one place only, and the budget of this layer counts distinct tokens.
Source: the first-layer span check of DAGER (Petrov et al. 2024, section 4); the joint fit is that of `words.py`.
"""

import numpy as np

from attacks.errors import NotApplicableError
from attacks.inversion.dictionary import Dictionary
from attacks.inversion.evidence import Evidence
from attacks.inversion.factors import LayerFactors
from attacks.inversion.hidden import Run
from attacks.inversion.words import find_words

SAME = 1e-3
"""Relative difference of a token's inputs at two places, up to which they are the same."""

DOUBT = 20.0
"""Log-odds that each found token has at least, after the choice among the whole vocabulary."""


def read_words(run: Run, *, vocabulary: int) -> Dictionary:
    """What each token gives to the first layer, wherever it stands: a dictionary of one place.

    Args:
        run: sentences → inputs of layer 0.
        vocabulary: number of tokens, V.

    Raises:
        NotApplicableError: If the first layer sees where a token stands.
    """
    ahead, behind = run([(0, 1)])[0][0], run([(1, 0)])[0][1]
    if np.linalg.norm(ahead - behind) > SAME * np.linalg.norm(ahead):
        raise NotApplicableError("span inversion knows no dictionary for a first layer that adds positions like these")
    words = run([(token,) for token in range(vocabulary)])[0]
    return Dictionary(
        words=words,
        places=np.zeros((1, words.shape[1])),
        shift=np.zeros(words.shape[1]),
        inverse_deviation=np.ones((vocabulary, 1)),
    )


def find_bag(dictionary: Dictionary, layer: LayerFactors, evidence: Evidence) -> tuple[int, ...]:
    """The distinct tokens of an update; none where they are more than the token budget.

    Over the budget a few tokens may fit a full row space all the same. With ∂A they are believed only if together they
    explain it down to its noise, with ∂B alone only if there are directions outside the span to speak against others.

    Args:
        dictionary: of one place.
        layer: the first one.
        evidence: of the span test on its factors.
    """
    if evidence.freedom == 0:
        return ()
    rows = next((one for one in layer.factors if one.route == "A" and one.noise_stddev > 0), None)
    if rows is not None:
        found = find_words(dictionary, rows, evidence.log_ratio) or ()
    else:
        sure = evidence.log_ratio[:, 0] > np.log(dictionary.vocabulary) + DOUBT
        found = tuple(np.flatnonzero(sure & evidence.consistent[:, 0]).tolist())
    return found if len(found) <= layer.token_budget else ()
