"""Inversion: texts out of updates."""

from attacks.inversion.bag_inversion import BagInversion
from attacks.inversion.dictionary import Dictionary, read_dictionary
from attacks.inversion.frames import Frame, SpecialTokens
from attacks.inversion.rouge import Rouge, rouge
from attacks.inversion.scoring import BagCount, Recovery, TextTruth, compare, content_pairs, count_bag, summarise
from attacks.inversion.span import SpanInversion, TextGuess, token_log_prior

__all__ = [
    "BagCount",
    "BagInversion",
    "Dictionary",
    "Frame",
    "Recovery",
    "Rouge",
    "SpanInversion",
    "SpecialTokens",
    "TextGuess",
    "TextTruth",
    "compare",
    "content_pairs",
    "count_bag",
    "read_dictionary",
    "rouge",
    "summarise",
    "token_log_prior",
]
