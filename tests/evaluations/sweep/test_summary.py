import json
import math

import pytest

from evaluations.sweep.results import Sweep
from evaluations.sweep.summary import Finished, label, summarise
from tests.evaluations.sweep.conftest import cell_result, leak_row, small_grid


def test_points_hold_means_intervals_and_the_largest_epsilon(make_sweep) -> None:
    point = make_sweep().points[1]
    assert point.accuracy.mean == pytest.approx(0.7)
    assert (point.accuracy.n, point.seeds, point.by_seed) == (3, (0, 1, 2), (0.70, 0.69, 0.71))
    assert (point.epsilon, point.delta, point.noise) == (pytest.approx(2.97), 1e-5, "simulation")
    assert point.f1.mean == pytest.approx(0.69)
    assert len(point.runs) == 3
    assert all(run.startswith("cells/epsilon=3_seed=") for run in point.runs)
    assert not point.warnings


def test_the_json_says_infinity_and_is_read_back(make_sweep) -> None:
    found = make_sweep()
    plain = json.loads(found.to_json())
    assert (plain["schema"], plain["points"][-1]["epsilon"]) == (1, "inf")
    assert plain["privacy"]["together_epsilon"] == "inf"
    assert Sweep.model_validate_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.7,), ["one seed: there is no interval"]),
        ((0.6, 0.75, 0.9), ["too wide to conclude", "reaches the majority baseline of 0.501"]),
        ((0.50, 0.51, 0.505), ["reaches the majority baseline"]),
        ((0.70, 0.71, 0.705), []),
    ],
)
def test_a_point_says_what_it_does_not_carry(values, words, make_sweep) -> None:
    warnings = make_sweep({1: values, 3: values, 8: values, math.inf: values}).points[0].warnings
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))


def test_seeded_cells_are_labelled_simulation_and_add_up() -> None:
    grid = small_grid("privacy.epsilon=1,3", seeds=(0, 1))
    done = [
        Finished(cell=c, result=cell_result(accuracy=0.7, epsilon=float(c.values["privacy.epsilon"])))
        for c in grid.cells
    ]
    found = label(done)
    assert (found.kind, found.together_epsilon, found.together_delta) == ("simulation", 8.0, pytest.approx(4e-5))
    assert "spends up to ε = 8.00 (basic composition), not the ε of the one that is picked" in found.statement


def test_one_unbounded_cell_leaves_the_choice_unbounded(make_sweep) -> None:
    found = make_sweep().privacy
    assert (found.kind, found.together_epsilon, found.together_delta) == ("simulation", math.inf, None)
    assert "covered by nothing" in found.statement


def test_without_any_budget_nothing_is_private() -> None:
    grid = small_grid("privacy.epsilon=inf")
    found = label([Finished(cell=cell, result=cell_result(accuracy=0.7, epsilon=math.inf)) for cell in grid.cells])
    assert found.kind == "not private"


def test_on_one_ledger_the_last_cell_covers_all_of_them() -> None:
    grid = small_grid("privacy.epsilon=3,8", "privacy.ledger=/somewhere/l.sqlite", seeds=(0,))
    found = label([Finished(cell=cell, result=cell_result(accuracy=0.7, epsilon=3.0)) for cell in grid.cells])
    assert (found.kind, found.together_epsilon) == ("one ledger", None)
    assert "up to and including its own cell" in found.statement


def test_leaks_are_of_the_run_itself_and_the_worst_view() -> None:
    rows = [leak_row(0.9, replay=True), leak_row(0.52, view="individual-dp"), leak_row(0.6), leak_row(None)]
    grid = small_grid("privacy.epsilon=8", seeds=(0,))
    done = Finished(cell=grid.cells[0], result=cell_result(accuracy=0.7, epsilon=8, attacks=rows))
    (leak,) = summarise(grid, [done], {}).points[0].leaks
    assert (leak.view, leak.value.mean, leak.null) == ("sum-dp", 0.6, 0.5)


def test_what_is_missing_has_a_reason() -> None:
    grid = small_grid("clients.count=8,6", "clients.per_round=8,6", seeds=(0, 1))
    assert len(grid.refused) == 1
    first, *rest = grid.cells
    done = [Finished(cell=cell, result=cell_result(accuracy=0.7, epsilon=8)) for cell in rest]
    found = summarise(grid, done, {first.name: "the ledger is full"})
    assert [(one.kind, one.seed) for one in found.missing][-1] == ("failed", 0)
    assert found.failed[0].reason == "the ledger is full"
    assert {one.kind for one in found.missing} == {"refused", "failed"}
