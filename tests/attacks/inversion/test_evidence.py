"""Spans told from noise: what true tokens look like where one of their directions is weak."""

import numpy as np
import pytest

from attacks.base import Floats
from attacks.inversion.evidence import Vectors, find_span, weigh
from attacks.inversion.factors import Factor

ROWS, COLUMNS, STRONG = 16, 32, 12
STDDEV = 1e-3
WEAK = 6.0


def orthonormal(rng: np.random.Generator, size: int, count: int) -> Floats:
    return np.asarray(np.linalg.qr(rng.normal(size=(size, count)))[0])


def observe(values: list[float], seed: int) -> tuple[Factor, Floats]:
    """An update with these singular values, in standard deviations of its noise; and tokens in its span."""
    rng = np.random.default_rng(seed)
    left, right = orthonormal(rng, ROWS, len(values)), orthonormal(rng, COLUMNS, len(values))
    clean = STDDEV * (left * values) @ right.T
    factor = Factor(
        route="A",
        observed=clean + rng.normal(size=clean.shape) * STDDEV,
        image=None,
        noise_stddev=STDDEV,
    )
    return factor, rng.normal(size=(len(values), len(values))) @ right.T


@pytest.mark.parametrize("seed", range(5))
def test_a_direction_behind_strong_ones_is_told_from_the_noise_that_is_left(seed: int) -> None:
    """With its noise it measures about 7.7: noise alone reaches 9.7 in the whole matrix, and 6.5 behind twelve."""
    factor, tokens = observe([1e4] * STRONG + [WEAK], seed)
    span = find_span(factor)
    assert span.directions >= STRONG + 1
    assert np.all(weigh(Vectors(rows=tokens), (span,), token_precision=1e-9).consistent)


@pytest.mark.parametrize("seed", range(5))
def test_other_vectors_show_all_the_same(seed: int) -> None:
    span = find_span(observe([1e4] * STRONG + [WEAK], seed)[0])
    others = np.random.default_rng(100 + seed).normal(size=(200, COLUMNS))
    assert np.all(weigh(Vectors(rows=others), (span,), token_precision=1e-9).log_ratio < 0)


def test_without_noise_every_direction_counts_and_none_that_is_zero() -> None:
    factor, _ = observe([1e4] * STRONG, 0)
    exact = Factor(route="A", observed=np.round(factor.observed, 1), image=None, noise_stddev=0.0)
    rank = np.linalg.matrix_rank(exact.observed)
    assert find_span(exact).directions == rank


def test_an_update_of_zeros_has_no_direction() -> None:
    nothing = Factor(route="A", observed=np.zeros((ROWS, COLUMNS)), image=None, noise_stddev=STDDEV)
    span = find_span(nothing)
    assert (span.directions, span.outside) == (0, 0)
