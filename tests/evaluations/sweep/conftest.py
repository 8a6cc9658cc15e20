"""Cells of a sweep as if they had been trained."""

import math
from collections.abc import Callable, Sequence

import pytest

from evaluations.sweep.grid import Grid, parse_axes, plan_grid
from evaluations.sweep.results import Sweep
from evaluations.sweep.summary import Finished, summarise
from fedpeft_secure.result import AttackRow, Result
from tests.evaluations.conftest import result, unprotected
from tests.fedpeft_secure.conftest import tiny_bert, tiny_config

__all__ = ["tiny_bert", "tiny_config"]

MakeSweep = Callable[..., Sweep]
ACCURACIES = {1: (0.58, 0.61, 0.6), 3: (0.70, 0.69, 0.71), 8: (0.75, 0.74, 0.752), math.inf: (0.79, 0.8, 0.81)}


def cell_result(*, accuracy: float, epsilon: float, attacks: Sequence[AttackRow] = ()) -> Result:
    base = result(attacks=tuple(attacks))
    privacy = unprotected()
    if math.isfinite(epsilon):
        clients = tuple(row.model_copy(update={"epsilon_spent": epsilon}) for row in base.privacy.clients)
        privacy = base.privacy.model_copy(update={"clients": clients})
    utility = base.utility.model_copy(update={"accuracy": accuracy, "f1": accuracy - 0.01})
    compute = base.compute.model_copy(update={"seconds": {"total": 100.0}})
    return base.model_copy(update={"utility": utility, "privacy": privacy, "compute": compute})


def leak_row(value: float | None, *, view: str = "sum-dp", replay: bool = False) -> AttackRow:
    return AttackRow(
        attack="membership", view=view, replay=replay, metric="AUC", value=value, low=None, high=None, null=0.5
    )


def small_grid(*over: str, seeds: Sequence[int] = (0, 1, 2)) -> Grid:
    return plan_grid({}, parse_axes(over or ("privacy.epsilon=1,3,8,inf",)), seeds)


@pytest.fixture(scope="session")
def make_sweep() -> MakeSweep:
    """Summarises four points of three seeds each; keywords change the accuracies by ε and add leaks by ε."""

    def make(
        accuracies: dict[float, tuple[float, ...]] | None = None,
        leaks: dict[float, float] | None = None,
        failures: dict[str, str] | None = None,
    ) -> Sweep:
        grid, found = small_grid(), accuracies or ACCURACIES
        finished = []
        for cell in grid.cells:
            epsilon = float(cell.values["privacy.epsilon"])
            if cell.seed >= len(found[epsilon]):
                continue
            rows = [leak_row((leaks or {})[epsilon] + 0.01 * cell.seed)] if leaks else []
            spent = 0.99 * epsilon
            made = cell_result(accuracy=found[epsilon][cell.seed], epsilon=spent, attacks=rows)
            finished.append(Finished(cell=cell, result=made))
        return summarise(grid, finished, failures or {})

    return make
