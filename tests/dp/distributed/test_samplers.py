"""Shares are exactly distributed, and so are their sums; ten percent less noise is noticed."""

import os
from decimal import Context, Decimal, localcontext

import numpy as np
import pytest
from scipy import stats
from scipy.special import ive

from dp.distributed import lattice
from dp.distributed.discrete_gaussian import discrete_gaussian
from dp.distributed.skellam import _log_ratio, _poisson, skellam
from dp.distributed.words import SecureWords, SeededWords, uniform_below
from dp.errors import InvalidParameter

FAMILIES = [discrete_gaussian, skellam]
SOURCES = [SecureWords(), SeededWords(np.random.default_rng(7))]


def discrete_gaussian_masses(reach, variance):
    support = np.arange(-reach, reach + 1)
    masses = np.exp(-(support**2) / (2 * variance))
    return support, masses / masses.sum()


def skellam_masses(reach, variance):
    support = np.arange(-reach, reach + 1)
    return support, ive(np.abs(support), variance)


MASSES = {discrete_gaussian: discrete_gaussian_masses, skellam: skellam_masses}


def chi_square(values, support, masses):
    """p-value of `values` against the masses; rare values are pooled."""
    enough = len(values) * masses >= 8
    low, high = support[enough].min(), support[enough].max()
    observed = np.bincount(np.clip(values, low - 1, high + 1) - (low - 1), minlength=high - low + 3).astype(float)
    expected = len(values) * np.concatenate(
        [[masses[support < low].sum()], masses[enough], [masses[support > high].sum()]]
    )
    kept = expected > 0
    expected *= observed[kept].sum() / expected[kept].sum()
    return stats.chisquare(observed[kept], expected[kept]).pvalue


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.label)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variance", [0.2, 0.7, 3.0, 40.5, 900.0])
def test_single_shares_are_exactly_distributed(family, variance, source):
    values = family(60_000, variance=variance, source=source)
    assert values.dtype == np.int64
    support, masses = MASSES[family](int(12 * variance**0.5 + 30), variance)
    assert chi_square(values, support, masses) > 1e-6
    _, wrong = MASSES[family](int(12 * variance**0.5 + 30), 0.81 * variance)
    assert chi_square(values, support, wrong) < 1e-6


def convolved(masses, shares):
    total = np.ones(1)
    for _ in range(shares):
        total = np.convolve(total, masses)
    return total


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("shares", "variance"), [(2, 3.0), (5, 12.0), (20, 2.0)])
def test_the_sum_of_shares_is_distributed_as_claimed_and_ten_percent_less_is_rejected(family, shares, variance):
    total = sum(family(60_000, variance=variance, source=SecureWords()) for _ in range(shares))
    reach = int(12 * variance**0.5 + 30)
    support = np.arange(-shares * reach, shares * reach + 1)
    claimed = convolved(MASSES[family](reach, variance)[1], shares)
    assert chi_square(total, support, claimed) > 1e-6
    assert chi_square(total, support, convolved(MASSES[family](reach, 0.81 * variance)[1], shares)) < 1e-6
    if family is skellam:  # closed under addition: one Skellam of the whole variance
        assert np.allclose(claimed, skellam_masses(shares * reach, shares * variance)[1], atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_scale_of_a_run_the_sum_is_gaussian_to_the_eye_and_the_scale_is_right(family):
    total = sum(family(40_000, variance=2.5e5, source=SecureWords()) for _ in range(8))
    assert stats.kstest(total, "norm", args=(0.0, (8 * 2.5e5) ** 0.5)).pvalue > 1e-6
    assert stats.kstest(total, "norm", args=(0.0, 0.9 * (8 * 2.5e5) ** 0.5)).pvalue < 1e-6


@pytest.mark.parametrize("mean", [0.3, 7.5, 5000.25, 3e6, 1e10])
def test_the_float_comparison_is_as_exact_as_it_says(mean):
    """The double-precision ratio lies within its certified error of the arbitrary-precision one."""
    target = _poisson(mean)
    largest = min(8 * target.width, 4000)
    offsets = np.unique(np.linspace(-min(target.mode, largest), largest, 25).astype(np.int64))
    with localcontext(Context(prec=60)):
        exact = np.array([float(target.exact_ratio(int(offset)).ln()) for offset in offsets])
    assert (np.abs(target.log_ratio(offsets) - exact) <= target.error(offsets)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_exact_comparison_alone_gives_the_same_distribution(family, monkeypatch):
    """Every decision made in arbitrary precision: the slow path is right, too."""
    seen = []
    exactly = lattice._decide_exactly
    monkeypatch.setattr(lattice, "_decide_exactly", lambda *args: seen.append(1) or exactly(*args))
    monkeypatch.setattr(lattice, "_ROUNDING", 1e9)  # doubts every comparison of floats
    values = family(3000, variance=4.0, source=SeededWords(np.random.default_rng(3)))
    support, masses = MASSES[family](60, 4.0)
    assert len(seen) >= 3000
    assert chi_square(values, support, masses) > 1e-6
    assert chi_square(values, support, MASSES[family](60, 0.81 * 4.0)[1]) < 1e-6


def test_exact_and_float_decisions_agree(monkeypatch):
    fast = discrete_gaussian(2000, variance=50.0, source=SeededWords(np.random.default_rng(5)))
    monkeypatch.setattr(lattice, "_ROUNDING", 1e9)
    assert (discrete_gaussian(2000, variance=50.0, source=SeededWords(np.random.default_rng(5))) == fast).all()


def test_undecided_comparisons_draw_more_bits():
    class Zeros:
        label = "simulation"
        drawn = 0

        def draw(self, count):
            Zeros.drawn += count
            return np.zeros(count, dtype=np.uint64)

    # The uniform is 1/2, bit by bit, and the threshold a little above: it takes two more words to see it.
    def threshold():
        return Decimal("0.5") + Decimal(2) ** -150

    assert lattice._decide_exactly(threshold, 0, 1.0, 1 << 63, Zeros())
    assert Zeros.drawn == 2


def test_log_ratio_is_minus_infinity_below_zero_counts():
    assert np.isneginf(_log_ratio(np.array([-8]), 7.5, 7)).all()
    assert np.isfinite(_log_ratio(np.array([-7]), 7.5, 7)).all()


@pytest.mark.parametrize("bound", [1, 2, 3, 7, 1000, (1 << 40) + 1])
def test_uniform_integers(bound):
    values = uniform_below(bound, 20_000, SecureWords())
    assert values.min() >= 0
    assert values.max() < bound
    if 1 < bound < 10:
        assert stats.chisquare(np.bincount(values, minlength=bound)).pvalue > 1e-6


def test_uniform_integers_reject_the_ragged_end():
    class Ends:
        label = "simulation"

        def __init__(self):
            self.words = [np.array([2**64 - 1, 5], dtype=np.uint64), np.array([9], dtype=np.uint64)]

        def draw(self, count):
            assert count == len(self.words[0])
            return self.words.pop(0)

    assert uniform_below(3, 2, Ends()).tolist() == [0, 2]  # 2^64−1 is a multiple of 3 and belongs to no full range


def test_labels_say_who_is_protected():
    assert SecureWords().label == "secure"
    assert SecureWords(entropy=bytes).label == "simulation"
    assert SeededWords(np.random.default_rng(0)).label == "simulation"


def test_secure_shares_are_fresh_and_seeded_ones_repeat():
    assert (skellam(50, variance=9.0, source=SecureWords()) != skellam(50, variance=9.0, source=SecureWords())).any()
    first, again = (skellam(50, variance=9.0, source=SeededWords(np.random.default_rng(1))) for _ in range(2))
    assert (first == again).all()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_process_does_not_repeat_its_parents_noise():
    source, (reader, writer) = SecureWords(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, source.draw(4).tobytes())
        os._exit(0)
    theirs = np.frombuffer(os.read(reader, 32), dtype=np.uint64)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    assert not np.isin(source.draw(4), theirs).any()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variance", [0.0, -1.0, float("nan"), float("inf"), 2.0**90])
def test_bad_variances_are_refused(family, variance):
    with pytest.raises(InvalidParameter, match="variance"):
        family(3, variance=variance, source=SecureWords())


@pytest.mark.parametrize("family", FAMILIES)
def test_none_are_none(family):
    assert family(0, variance=2.0, source=SecureWords()).shape == (0,)
