"""An exact, vectorised sampler for log-concave distributions on the integers.

A candidate is `block`·width + offset away from the mode, with probability 2^-(block+1), either way; it is accepted with
the ratio of the two probability masses. Acceptance is decided by a 64-bit uniform word in double precision, and only
where the two sides are closer than the certified error of that comparison, again in arbitrary precision: the decision
is then the exact one, so that no floating-point number shapes the distribution.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Context, Decimal, localcontext
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dp.distributed.words import Words, WordSource, uniform_below

_MAX_BLOCK = 60  # candidates beyond have probability 2^-60 and would be accepted with probability below e^-1000
_BATCH = 1 << 16
_DIGITS = 60
_ROUNDING = 1e-13
"""Bound on the error of the logarithms that are compared, besides that of the ratio; all are below 200."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogConcave:
    """A log-concave distribution on the integers, relative to its mode.

    Args:
        mode: a most likely integer.
        width: about the standard deviation, at least 1.
        log_ratio: offsets from the mode → log(p(mode + offset) / p(mode)), −∞ outside the support, vectorised.
        error: offsets → a bound on the absolute error of `log_ratio`.
        exact_ratio: offset → p(mode + offset) / p(mode) in the current decimal context.
    """

    mode: int
    width: int
    log_ratio: Callable[[NDArray[np.int64]], NDArray[np.float64]] = field(repr=False)
    error: Callable[[NDArray[np.int64]], NDArray[np.float64]] = field(repr=False)
    exact_ratio: Callable[[int], Decimal] = field(repr=False)


def draw(target: LogConcave, count: int, source: WordSource) -> NDArray[np.int64]:
    """Returns `count` independent integers from `target`, exactly distributed if the source's words are uniform.

    Does not cover: timing, which depends on how many candidates were rejected.
    """
    ceiling = _ceiling(target)
    found: list[NDArray[np.int64]] = []
    missing = count
    while missing > 0:
        accepted = _accepted(target, ceiling, min(2 * missing + 64, _BATCH), source)
        found.append(accepted[:missing])
        missing -= len(found[-1])
    return np.concatenate(found) + target.mode if found else np.zeros(0, dtype=np.int64)


def _ceiling(target: LogConcave) -> float:
    """An upper bound on ratio(offset)·2^block over all offsets.

    The ratio falls away from the mode, so that block starts suffice; its logarithm is concave, so that once a block
    loses more than log 2 all later ones do. A bound that is too high costs candidates, never exactness.
    """
    blocks = np.arange(_MAX_BLOCK, dtype=np.int64)
    highest = max(
        float((target.log_ratio(side * blocks * target.width) + blocks * math.log(2)).max()) for side in (1, -1)
    )
    return math.exp(highest) * (1 + 1e-6)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Candidates:
    """Offsets, the blocks that they were drawn from, and the words that decide about them; shape (count,) each."""

    offset: NDArray[np.int64]
    block: NDArray[np.int64]
    word: Words


def _accepted(target: LogConcave, ceiling: float, count: int, source: WordSource) -> NDArray[np.int64]:
    candidates = _propose(target.width, count, source)
    return candidates.offset[_decide(target, ceiling, candidates, source)]


def _propose(width: int, count: int, source: WordSource) -> _Candidates:
    shape, decision = source.draw(2 * count).reshape(2, count)
    # Bit 0 is the sign; the lowest set bit of the rest is number j with probability 2^-(j+1).
    rest = shape >> np.uint64(1)
    lowest = np.frexp((rest & (~rest + np.uint64(1))).astype(np.float64))[1].astype(np.int64) - 1
    negative = (shape & np.uint64(1)).astype(np.bool_)
    size = lowest * width + uniform_below(width, count, source)
    usable = (lowest >= 0) & (lowest < _MAX_BLOCK) & ~((size == 0) & negative)  # zero has two names: drop one
    offset = np.where(negative, -size, size)
    return _Candidates(offset=offset[usable], block=lowest[usable], word=decision[usable])


def _decide(target: LogConcave, ceiling: float, candidates: _Candidates, source: WordSource) -> NDArray[np.bool_]:
    """Whether a uniform in [word, word + 1)/2^64 lies below ratio·2^block/ceiling."""
    words = candidates.word.astype(np.float64)
    with np.errstate(divide="ignore"):
        threshold = target.log_ratio(candidates.offset) + candidates.block * math.log(2) - math.log(ceiling)
        uniform = np.log(words) - 64 * math.log(2)
    # A word stands for an interval of relative width 1/word; conversion and logarithms add a few units of rounding.
    doubt = target.error(candidates.offset) + _ROUNDING + 2.0 / np.maximum(words, 1.0)
    possible = np.isfinite(threshold)
    accepted: NDArray[np.bool_] = possible & (uniform < threshold)
    unsure = possible & ((candidates.word == 0) | (np.abs(uniform - threshold) <= doubt))
    for index in np.flatnonzero(unsure):
        ratio = partial(target.exact_ratio, int(candidates.offset[index]))
        accepted[index] = _decide_exactly(
            ratio, int(candidates.block[index]), ceiling, int(candidates.word[index]), source
        )
    return accepted


def _decide_exactly(ratio: Callable[[], Decimal], block: int, ceiling: float, word: int, source: WordSource) -> bool:
    """Whether a uniform that starts with `word` is below ratio·2^block/ceiling: draws until it shows."""
    numerator, bits, digits = word, 64, _DIGITS
    while True:
        with localcontext(Context(prec=digits)):
            value = ratio() * (1 << block) / Decimal(ceiling)
            slack = value * Decimal(10) ** (10 - digits)
            if Decimal(numerator + 1) / (1 << bits) < value - slack:
                return True
            if Decimal(numerator) / (1 << bits) > value + slack:
                return False
        numerator, bits, digits = (numerator << 64) | int(source.draw(1)[0]), bits + 64, digits + 20
