"""Inversion: texts out of updates."""

from attacks.inversion.dictionary import Dictionary, read_dictionary
from attacks.inversion.rouge import Rouge, rouge
from attacks.inversion.scoring import Recovery, TextTruth, compare, content_pairs, summarise
from attacks.inversion.span import SpanInversion, SpecialTokens, TextGuess, token_log_prior

__all__ = [
    "Dictionary",
    "Recovery",
    "Rouge",
    "SpanInversion",
    "SpecialTokens",
    "TextGuess",
    "TextTruth",
    "compare",
    "content_pairs",
    "read_dictionary",
    "rouge",
    "summarise",
    "token_log_prior",
]
