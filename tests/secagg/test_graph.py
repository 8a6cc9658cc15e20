import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

import secagg
from secagg import graph
from secagg.neighbours import SessionGraph

# (clients, adversarial, dropout, malicious, degree, threshold), as published with the reference implementation
PUBLISHED = [
    (100, 0.1, 0.1, False, 22, 11),
    (100, 0.1, 0.1, True, 32, 22),
    (1000, 0.1, 0.1, False, 48, 27),
    (1000, 0.1, 0.1, True, 96, 67),
    (100, 0.45, 0.45, False, 92, 46),
    (1000, 0.45, 0.45, False, 822, 417),
    (10, 0.33, 0.33, False, 8, 4),
    (100, 0.33, 0.33, False, 68, 34),
    (1000, 0.33, 0.33, False, 286, 150),
    (10_000, 0.33, 0.33, False, 422, 221),
    (100, 0.3, 0.3, True, 92, 62),
    (1000, 0.3, 0.3, True, 872, 584),
    (10, 0.05, 0.33, False, 4, 2),
    (100, 0.05, 0.33, False, 28, 6),
    (10_000, 0.05, 0.33, False, 86, 29),
    (10, 0.05, 0.33, True, 8, 5),
    (1000, 0.05, 0.33, True, 398, 223),
    (100, 0.33, 0.05, False, 34, 29),
    (100, 0.33, 0.05, True, 42, 37),
    (1000, 0.33, 0.05, True, 132, 109),
    (10_000, 0.33, 0.05, True, 178, 146),
]


@pytest.mark.parametrize("published", PUBLISHED)
def test_the_reference(published):
    clients, bad, gone, malicious, degree, threshold = published
    plan = graph.reference_plan(clients, adversarial_fraction=bad, dropout_fraction=gone, malicious_server=malicious)
    assert (plan.degree, plan.threshold) == (degree, threshold)


@pytest.mark.parametrize(
    ("clients", "malicious", "degree", "threshold"),
    [(100, False, 22, 11), (1000, False, 48, 27), (100, True, 32, 22), (1000, True, 132, 97)],
)
def test_our_own_numbers(clients, malicious, degree, threshold):
    plan = secagg.plan_graph(clients, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=malicious)
    assert (plan.degree, plan.threshold) == (degree, threshold)
    assert (plan.colluders, plan.dropouts) == (clients // 10, clients // 10)


@pytest.mark.parametrize("malicious", [True, False])
@pytest.mark.parametrize("fractions", [(0.1, 0.1), (0.0, 0.0), (0.2, 0.05), (0.05, 0.3)])
@pytest.mark.parametrize("clients", [5, 8, 13, 20, 40, 77, 100, 250])
def test_the_plan_satisfies_its_conditions_by_an_independent_computation(clients, fractions, malicious):
    try:
        plan = secagg.plan_graph(
            clients, adversarial_fraction=fractions[0], dropout_fraction=fractions[1], malicious_server=malicious
        )
    except secagg.PlanError:
        return
    k, t, c, d = plan.degree, plan.threshold, plan.colluders, plan.dropouts
    assert c == max(1, math.ceil(round(fractions[0] * clients, 9)))
    assert d == max(1, math.ceil(round(fractions[1] * clients, 9)))
    if plan.complete:
        assert t <= clients - 1 - d
        assert 2 * t > k + c if malicious else t > c
        return
    security = 2.0 ** -(105 if malicious else 41)
    corrupt = stats.hypergeom(clients, c, k)
    worst = (2 * t - k) if malicious else t  # this many corrupt neighbours break it
    assert clients * corrupt.sf(worst - 1) <= security * 1.0001
    assert clients * stats.hypergeom(clients, d, k).sf(k - t) <= 2.0**-20 * 1.0001


def test_disconnection_bound_against_counting():
    """All sets of removed clients of a small ring, counted."""
    clients, degree, removed = 9, 2, 4
    bad = 0
    for gone in combinations(range(clients), removed):
        left = [p for p in range(clients) if p not in gone]
        reach, todo = {left[0]}, [left[0]]
        while todo:
            here = todo.pop()
            for other in left:
                if other not in reach and min((here - other) % clients, (other - here) % clients) <= degree // 2:
                    reach.add(other)
                    todo.append(other)
        bad += len(reach) != len(left)
    exact = bad / math.comb(clients, removed)
    assert exact <= math.exp(graph._log_disconnected(clients, degree, removed))
    assert graph._log_disconnected(clients, 6, removed) == -math.inf


def test_quantiles_against_scipy():
    for population, marked, drawn in ((100, 10, 22), (1000, 100, 96), (50, 25, 25), (20, 18, 10)):
        dist = stats.hypergeom(population, marked, drawn)
        for bits in (1, 5, 20, 45):
            x = graph._quantile(population, marked, drawn, -bits * math.log(2))
            assert dist.sf(x) <= 2.0**-bits * (1 + 1e-6)
            assert x == max(0, drawn + marked - population) or dist.sf(x - 1) > 2.0**-bits * (1 - 1e-6)


@pytest.mark.parametrize("malicious", [True, False])
def test_small_cohorts_fall_back_or_name_the_smallest_that_works(malicious):
    smallest = 5 if malicious else 4
    for clients in range(1, smallest):
        with pytest.raises(secagg.PlanError, match=f"smallest cohort that works has {smallest} clients"):
            secagg.plan_graph(clients, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=malicious)
    plan = secagg.plan_graph(smallest, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=malicious)
    assert plan.complete
    assert (plan.degree, plan.threshold) == ((4, 3) if malicious else (3, 2))
    assert (plan.colluders, plan.dropouts) == (1, 1)


def test_the_named_smallest_cohort_works_and_no_smaller_one():
    with pytest.raises(secagg.PlanError, match=r"has (\d+) clients") as caught:
        secagg.plan_graph(6, adversarial_fraction=0.3, dropout_fraction=0.3, malicious_server=True)
    smallest = int(str(caught.value).rsplit("has ")[1].split()[0])
    works = {"adversarial_fraction": 0.3, "dropout_fraction": 0.3, "malicious_server": True}
    assert secagg.plan_graph(smallest, **works).num_clients == smallest
    for clients in range(1, smallest):
        with pytest.raises(secagg.PlanError):
            secagg.plan_graph(clients, **works)


def test_no_cohort_works():
    with pytest.raises(secagg.PlanError, match="no larger cohort works either"):
        secagg.plan_graph(50, adversarial_fraction=0.6, dropout_fraction=0.5, malicious_server=True)


@pytest.mark.parametrize(
    ("clients", "bad", "gone"),
    [(0, 0.1, 0.1), (10, -0.1, 0.1), (10, 0.1, 1.0), (10, float("nan"), 0.1), (2_000_000, 0, 0)],
)
def test_impossible_arguments(clients, bad, gone):
    for find in (secagg.plan_graph, graph.reference_plan):
        with pytest.raises(secagg.PlanError):
            find(clients, adversarial_fraction=bad, dropout_fraction=gone, malicious_server=True)


def test_the_reference_gives_up_where_we_fall_back():
    with pytest.raises(secagg.PlanError, match="use plan_graph"):
        graph.reference_plan(3, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=True)


def test_counts():
    plan = graph.plan_for_counts(20, colluders=3, dropouts=2, malicious_server=True)
    assert (plan.colluders, plan.dropouts) == (3, 2)
    with pytest.raises(secagg.PlanError, match="cannot bear 9 corrupt"):
        graph.plan_for_counts(10, colluders=9, dropouts=2, malicious_server=True)
    with pytest.raises(secagg.PlanError, match="at least 1"):
        graph.plan_for_counts(10, colluders=0, dropouts=2, malicious_server=True)


def test_decimal_fractions_are_counted_as_written():
    plan = secagg.plan_graph(100, adversarial_fraction=0.07, dropout_fraction=0.29, malicious_server=False)
    assert (plan.colluders, plan.dropouts) == (7, 29)  # 100·0.29 is 28.999… and 100·0.07 is 7.000000000000001 in floats


# --- drawing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [5, 6, 8, 20, 100])
def test_drawn_graphs_are_regular_and_symmetric(clients):
    plan = secagg.plan_graph(clients, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=True)
    drawn = SessionGraph(plan, session=bytes(32))
    for position in range(clients):
        near = drawn.neighbours(position)
        assert len(set(near)) == plan.degree
        assert list(near) == sorted(near)
        assert position not in near
        assert all(position in drawn.neighbours(other) for other in near)


def test_every_client_is_as_likely_a_neighbour():
    plan = secagg.plan_graph(20, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=False)
    seen = np.zeros(20)
    for i in range(3000):
        for other in SessionGraph(plan, session=i.to_bytes(32, "big")).neighbours(7):
            seen[other] += 1
    expected = 3000 * plan.degree / 19
    assert seen[7] == 0
    assert np.abs(np.delete(seen, 7) - expected).max() < 5 * math.sqrt(expected)


def test_a_server_that_redraws_the_graph_wins_without_the_margin():
    """One sybil changes its key until some honest client is surrounded; with the margin it finds no such graph."""
    clients, colluders, dropouts, bits, redraws = 60, 6, 3, 4, 2**8
    wins = {}
    for margin in (0, 16):
        degree, threshold = graph._sparse(
            clients, colluders, dropouts, malicious_server=False, security_bits=bits + margin
        )
        plan = graph.GraphPlan(
            num_clients=clients,
            degree=degree,
            threshold=threshold,
            colluders=colluders,
            dropouts=dropouts,
            malicious_server=False,
        )
        wins[margin] = 0
        for sybil_key in range(redraws):
            drawn = SessionGraph(plan, session=sybil_key.to_bytes(32, "big"))
            reached = [len(set(drawn.neighbours(p)) & set(range(colluders))) for p in range(colluders, clients)]
            wins[margin] += max(reached) >= threshold
    assert wins[0] > 0
    assert wins[16] == 0
