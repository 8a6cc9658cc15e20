import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import secagg
from fedpeft_secure.aggregation.factors import Blocks, Factors, ModulePlan
from fedpeft_secure.aggregation.fedask import FedASK
from fedpeft_secure.aggregation.fedit import FedIT
from fedpeft_secure.aggregation.sums import PROTOCOLS, ExactSums, SecureSums, Summed, public_range, run_sums

NAMES = ("a", "b", "c", "d", "e")
WEIGHTS = dict(zip(NAMES, (1.0, 2.0, 0.5, 3.0, 1.5), strict=True))
PUBLIC = ModulePlan(d=9, n=7, ranks=(2,) * 5, rank=2)


def blocks(seed: int = 0, *, small: float = 1e-4) -> dict[str, Blocks]:
    """Two blocks a client, one of them far smaller, and a number."""
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal((4, 3)), small * rng.standard_normal((2, 5)), np.array([7.0])) for name in NAMES}


def clients(seed: int = 0) -> dict[str, Factors]:
    rng = np.random.default_rng(seed)
    return {name: Factors(b=rng.standard_normal((9, 2)), a=rng.standard_normal((2, 7))) for name in NAMES}


def dense_mean(sent: Mapping[str, Blocks], names: tuple[str, ...], place: int) -> np.ndarray:
    total = sum(WEIGHTS[name] for name in names)
    return np.sum([WEIGHTS[name] / total * sent[name][place] for name in names], axis=0)


def test_exact_means() -> None:
    sent = blocks()
    summed = ExactSums(weights=WEIGHTS).mean(sent, phase=0)
    assert summed.survivors == NAMES
    for place, block in enumerate(summed.mean):
        assert np.allclose(block, dense_mean(sent, NAMES, place), rtol=1e-14)


@pytest.mark.parametrize("kind", list(PROTOCOLS.values()))
@pytest.mark.parametrize("clip", [1.0, 0.01, 30.0])
def test_secure_means_of_blocks_of_any_scale(kind: type, clip: float) -> None:
    """Every block keeps its own precision, whatever the codec's clip."""
    sent = blocks()
    protocol = kind(codec=secagg.FixedPoint(clip=clip, bits=16))
    summed = SecureSums(protocol=protocol, weights=WEIGHTS).mean(sent, phase=0)
    assert summed.survivors == NAMES
    for place, block in enumerate(summed.mean):
        want = dense_mean(sent, NAMES, place)
        assert block.shape == want.shape
        assert np.abs(block - want).max() < 2e-4 * max(np.abs(sent[name][place]).max() for name in NAMES)
        assert not np.array_equal(block, want)  # it went through integers


def test_without_weights_everybody_counts_the_same() -> None:
    sent = blocks()
    summed = SecureSums(protocol=secagg.PlainSum(), weights=None).mean(sent, phase=0)
    assert np.allclose(summed.mean[0], np.mean([sent[name][0] for name in NAMES], axis=0), atol=1e-3)


@pytest.mark.parametrize("weight", [1e-9, 1e-3, 1.0, 1e9])
def test_weights_count_by_proportion_only(weight: float) -> None:
    sent = blocks()
    scaled = {name: weight * own for name, own in WEIGHTS.items()}
    one, two = (SecureSums(protocol=secagg.PlainSum(), weights=own).mean(sent, phase=0) for own in (WEIGHTS, scaled))
    assert all(np.allclose(left, right, rtol=1e-4) for left, right in zip(one.mean, two.mean, strict=True))


def test_a_codec_with_a_largest_weight_keeps_it() -> None:
    protocol = secagg.PlainSum(codec=secagg.FixedPoint(clip=1.0, bits=24, max_weight=6))
    summed = SecureSums(protocol=protocol, weights=WEIGHTS).mean(blocks(), phase=0)
    assert np.allclose(summed.mean[0], dense_mean(blocks(), NAMES, 0), atol=1e-4)


def test_rounding_is_drawn_anew_for_each_sum_and_repeats_with_the_seed() -> None:
    sums = SecureSums(protocol=secagg.PlainSum(), weights=WEIGHTS, seed=3)
    first, again, second = (sums.mean(blocks(), phase=phase).mean[0] for phase in (0, 0, 1))
    other = replace(sums, seed=4).mean(blocks(), phase=0).mean[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


@given(st.lists(st.floats(-1e200, 1e200, allow_subnormal=False), min_size=1, max_size=5))
def test_a_range_bounds_and_says_little(values: list[float]) -> None:
    found, largest = public_range([np.array(values)]), max(abs(value) for value in values)
    assert found >= largest
    if largest > 0:
        assert found <= largest * 2**0.25 * (1 + 1e-12)
        steps = 4 * math.log2(found)
        assert abs(steps - round(steps)) < 1e-9
    else:
        assert found == 1.0


@dataclass(frozen=True)
class Losing:
    """Exact sums whose clients vanish: `gone[phase]`; records who was asked to send."""

    gone: tuple[frozenset[str], ...]
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def mean(self, sent: Mapping[str, Blocks], *, phase: int) -> Summed:
        self.asked.append(tuple(sent))
        stay = {name: own for name, own in sent.items() if name not in self.gone[phase]}
        return ExactSums(weights=WEIGHTS).mean(stay, phase=phase)


def test_who_is_missing_from_the_first_sum_is_not_asked_for_the_second() -> None:
    sums, all_clients = Losing((frozenset("bd"), frozenset())), clients()
    means = run_sums(FedASK(), all_clients, PUBLIC, sums)
    assert sums.asked == [NAMES, ("a", "c", "e")]
    stay = {name: all_clients[name] for name in ("a", "c", "e")}
    alone = run_sums(FedASK(), stay, PUBLIC, ExactSums(weights=WEIGHTS))
    assert all(np.array_equal(one[0], two[0]) for one, two in zip(means, alone, strict=True))


def test_who_vanishes_between_two_sums_fails_the_session() -> None:
    with pytest.raises(
        secagg.RoundFailedError, match=r"^c vanished between the two sums of fedask; start another attempt"
    ):
        run_sums(FedASK(), clients(), PUBLIC, Losing((frozenset(), frozenset("c"))))


def test_one_sum_for_those_that_read_one() -> None:
    sums = Losing((frozenset(),))
    assert len(run_sums(FedIT(), clients(), PUBLIC, sums)) == 1
    assert sums.asked == [NAMES]


def test_products_that_overflow_are_refused() -> None:
    large = {name: Factors(b=1e200 * own.b, a=1e200 * own.a) for name, own in clients().items()}
    with pytest.raises(ValueError, match=r"^fedask: what a would send is not finite; its factors are too large"):
        run_sums(FedASK(), large, PUBLIC, ExactSums(weights=WEIGHTS))
