"""What a client keeps out of its training, to see how good a model is on data like its own."""

import hashlib

import numpy as np

from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.seeds import Seed


def hold_out(texts: LabelledTexts, fraction: float, *, seed: Seed, client: str) -> tuple[LabelledTexts, LabelledTexts]:
    """A client's texts as (for training, held out), in their old order.

    Guarantee: each text's side follows from seed, client and the text alone, so that one example more or less moves
        nobody else's: what neighbouring data sets need. Equal texts are on one side.
    Does not cover: how many are held out, which varies around the fraction.

    Args:
        texts: its own.
        fraction: the share that is held out, on average.
        seed: of the run.
        client: whose they are.
    """
    key = seed.entropy("held out", client)
    held = np.array([_draw(key, text) < fraction for text in texts.texts], dtype=bool)
    return texts.take(np.flatnonzero(~held)), texts.take(np.flatnonzero(held))


def _draw(key: int, text: str) -> float:
    """A number in [0, 1) that follows from key and text."""
    digest = hashlib.sha256(f"fedpeft-secure/held-out/v1/{key}/".encode() + text.encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest()[:7], "big") / 2**56
