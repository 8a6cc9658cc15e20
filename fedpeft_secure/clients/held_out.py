"""What a client keeps out of its training, to see how good a model is on data like its own."""

import math

import numpy as np

from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.seeds import Seed


def hold_out(texts: LabelledTexts, fraction: float, *, seed: Seed, client: str) -> tuple[LabelledTexts, LabelledTexts]:
    """A client's texts as (for training, held out), in their old order; at least one is trained on.

    Args:
        texts: at least one.
        fraction: that is held out; 0 for nothing, else at least one text where there are two.
        seed: of the run.
        client: whose they are.
    """
    count = min(math.ceil(fraction * len(texts)), len(texts) - 1)
    held = np.zeros(len(texts), dtype=bool)
    held[seed.child("held out", client).permutation(len(texts))[:count]] = True
    return texts.take(np.flatnonzero(~held)), texts.take(np.flatnonzero(held))
