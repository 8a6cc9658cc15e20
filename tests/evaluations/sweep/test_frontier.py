import math

import pytest

from evaluations.sweep.frontier import lines_of, steps_along, undominated, utility_frontier


@pytest.mark.parametrize(
    ("costs", "gains", "marks"),
    [
        ([1, 3, 8], [0.6, 0.7, 0.75], [True, True, True]),
        ([1, 3, 8], [0.6, 0.75, 0.7], [True, True, False]),
        ([1, 1, 8], [0.6, 0.7, 0.7], [False, True, False]),
        ([1, 1], [0.6, 0.6], [True, True]),
        ([math.inf, 8, math.inf], [0.8, 0.8, 0.9], [False, True, True]),
        ([5], [0.1], [True]),
        ([], [], []),
    ],
)
def test_a_point_is_beaten_by_one_that_is_no_worse_in_both_and_better_in_one(costs, gains, marks) -> None:
    assert undominated(costs, gains) == marks


def test_points_come_by_epsilon_with_their_frontiers(make_sweep) -> None:
    found = make_sweep({1: (0.6,), 3: (0.7,), 8: (0.65,), math.inf: (0.8,)})
    assert [point.values["privacy.epsilon"] for point in found.points] == [1, 3, 8, "inf"]
    assert [point.frontier for point in found.points] == [True, True, False, True]


def test_epsilons_of_other_deltas_and_units_are_not_compared(make_sweep) -> None:
    points = make_sweep({1: (0.6,), 3: (0.7,), 8: (0.65,), math.inf: (0.8,)}).points
    apart = [points[0], points[1], points[2].model_copy(update={"delta": 1e-7}), points[3]]
    assert [point.frontier for point in utility_frontier(apart)] == [True, True, True, True]
    unit = points[2].model_copy(update={"values": {**points[2].values, "privacy.unit": "client"}})
    marked = utility_frontier([points[0], points[1], unit, points[3]])
    assert [point.frontier for point in marked] == [True] * 4
    assert [len(line) for line in lines_of(marked)] == [3, 1]
    assert not any(unit.values in (step.start, step.end) for step in steps_along(marked))


def test_the_frontier_of_leakage_is_another_one(make_sweep) -> None:
    found = make_sweep(leaks={1: 0.6, 3: 0.5, 8: 0.55, math.inf: 0.7})
    assert [point.frontier for point in found.points] == [True] * 4
    assert [point.leaks[0].frontier for point in found.points] == [False, True, True, True]


def test_steps_are_paired_by_seed(make_sweep) -> None:
    # Seeds differ by much, and every one of them gains about the same: only a paired interval sees it.
    found = make_sweep({1: (0.50, 0.60, 0.70), 3: (0.55, 0.651, 0.749), 8: (0.54, 0.70, 0.72), math.inf: (0.8,)})
    first, second, third = found.steps
    assert first.conclusive
    assert first.difference is not None
    assert first.difference.mean == pytest.approx(0.05)
    assert not second.conclusive
    assert third.difference is not None
    assert (third.difference.n, third.difference.low, third.conclusive) == (1, None, False)
