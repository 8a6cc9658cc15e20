import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpeft_secure.aggregation.factors import Factors
from fedpeft_secure.aggregation.rank_slots import RankSlots, deal_slots


def test_every_slot_is_the_mean_over_its_pickers() -> None:
    rng, slots, picks = np.random.default_rng(0), 4, [(0, 2), (2,), (0, 1, 2)]
    shared = Factors(b=rng.standard_normal((6, slots)), a=rng.standard_normal((slots, 5)))
    clients = [Factors(b=rng.standard_normal((6, len(p))), a=rng.standard_normal((len(p), 5))) for p in picks]
    shares, strategy = np.array([0.5, 0.2, 0.3]), RankSlots()
    sent = [strategy.encode_factors(one, p, slots) for one, p in zip(clients, picks, strict=True)]
    mean = tuple(sum(s * block for s, block in zip(shares, blocks, strict=True)) for blocks in zip(*sent, strict=True))
    found = strategy.apply_sum(mean, shared, picks)
    for slot in range(3):
        held = [(s, c, p.index(slot)) for s, c, p in zip(shares, clients, picks, strict=True) if slot in p]
        total = sum(s for s, _, _ in held)
        assert np.allclose(found.factors.b[:, slot], sum(s * c.b[:, place] for s, c, place in held) / total)
        assert np.allclose(found.factors.a[slot], sum(s * c.a[place] for s, c, place in held) / total)
    assert np.allclose(found.folded, np.outer(shared.b[:, 3], shared.a[3]))
    assert (found.factors.b[:, 3] == 0).all()
    assert np.array_equal(found.factors.a[3], shared.a[3])


@given(
    ranks=st.lists(st.integers(1, 9), min_size=3, max_size=9),
    slots=st.integers(1, 12),
    min_cohort=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_no_slot_is_picked_by_few(ranks: list[int], slots: int, min_cohort: int, seed: int) -> None:
    picks = deal_slots(ranks, slots=slots, min_cohort=min_cohort, rng=np.random.default_rng(seed))
    counts = np.bincount([slot for own in picks for slot in own], minlength=slots)
    assert len(counts) == slots
    assert ((counts == 0) | (counts >= min_cohort)).all()
    assert counts[counts > 0].max() - counts[counts > 0].min() <= 1
    for own, rank in zip(picks, ranks, strict=True):
        assert len(set(own)) == len(own) == min(rank, int((counts > 0).sum()))
        assert own == tuple(sorted(own))


def test_slots_are_dealt_anew() -> None:
    deals = {deal_slots([2, 2, 1], slots=5, min_cohort=1, rng=np.random.default_rng(seed)) for seed in range(9)}
    assert len(deals) > 5


def test_too_few_clients_fill_no_slot() -> None:
    with pytest.raises(ValueError, match=r"^rank_slots: 2 clients cannot fill a slot min_cohort = 3 times"):
        deal_slots([4, 4], slots=4, min_cohort=3, rng=np.random.default_rng(0))
