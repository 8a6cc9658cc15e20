import os

import pytest

import secagg
from secagg.crypto import commit
from secagg.graph import GraphPlan
from secagg.recovery import MAX_SUBSETS, reconstruct
from secagg.shamir import split

GRAPH = GraphPlan(num_clients=11, degree=10, threshold=6, colluders=1, dropouts=1, malicious_server=False)
SEED = bytes(range(32))


def shares(*points):
    dealt = split(SEED, points=10, threshold=6, entropy=os.urandom)
    return {point: dealt[point - 1] for point in points}


def recovered(known):
    return reconstruct(known, GRAPH, name="a", public=commit, expected=commit(SEED))


def test_exactly_the_threshold_and_all():
    assert recovered(shares(1, 3, 5, 7, 9, 10)) == SEED
    assert recovered(shares(*range(1, 11))) == SEED


@pytest.mark.parametrize("bad", [(1,), (1, 2), (3, 6, 9), (1, 2, 3, 4)])
@pytest.mark.parametrize("lie", [bytes(33), b"\xff" * 33, b"\x01" + b"\x07" * 32])
def test_wrong_shares_are_worked_around(bad, lie):
    assert recovered({**shares(*range(1, 11)), **dict.fromkeys(bad, lie)}) == SEED


def test_too_few_shares():
    with pytest.raises(secagg.RoundFailedError, match="5 of 6 shares of 'a'"):
        recovered(shares(1, 2, 3, 4, 5))


def test_too_many_wrong_shares_give_up_in_bounded_time(monkeypatch):
    calls = []
    known = {**shares(*range(1, 11)), **dict.fromkeys((1, 2, 3, 4, 5), bytes(33))}
    with pytest.raises(secagg.RoundFailedError, match="clients lied"):
        reconstruct(known, GRAPH, name="a", public=lambda s: calls.append(s) or commit(s), expected=commit(SEED))
    assert len(calls) <= MAX_SUBSETS
