import json
from pathlib import Path

import numpy as np
import pytest

from attacks import AttackError
from attacks.audit import epsilon_clopper_pearson

KNOWN = json.loads(Path(__file__).with_name("known_answers.json").read_text("utf-8"))["clopper_pearson"]


def bound(**changes: float) -> float:
    arguments: dict[str, float] = {
        "false_positives": 50,
        "false_negatives": 300,
        "positives": 1000,
        "negatives": 1000,
        "delta": 0.0,
    }
    return epsilon_clopper_pearson(**(arguments | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("case", KNOWN)
def test_it_gives_the_known_answers(case: dict[str, float]) -> None:
    rates = {name: case[name] for name in ("false_positives", "false_negatives")}
    assert bound(**rates) == pytest.approx(case["epsilon"], abs=1e-4)


def test_it_gives_nothing_for_chance_or_worse() -> None:
    assert bound(false_positives=500, false_negatives=500) == 0.0
    assert bound(false_positives=1000, false_negatives=0) == 0.0
    assert bound(false_positives=0, false_negatives=1000) == 0.0


def test_more_thresholds_a_larger_delta_or_a_smaller_alpha_weaken_it() -> None:
    assert bound() > bound(thresholds=100) > 0
    assert bound() > bound(delta=0.1) > 0
    assert bound() > bound(alpha=1e-3) > 0


def best_over_thresholds(shift: float, rng: np.random.Generator) -> float:
    grid = np.linspace(-2, 3, 20)
    inside, outside = rng.normal(size=200) + shift, rng.normal(size=200)
    return max(
        bound(
            false_positives=int((outside >= threshold).sum()),
            false_negatives=int((inside < threshold).sum()),
            positives=200,
            negatives=200,
            thresholds=grid.size,
        )
        for threshold in grid
    )


def test_the_best_of_corrected_thresholds_stays_silent_without_an_effect_and_speaks_with_one() -> None:
    """The trap: a search over thresholds must not find ε > 0 where there is none."""
    rng = np.random.default_rng(0)
    assert sum(best_over_thresholds(0.0, rng) > 0 for _ in range(40)) <= 2
    assert all(best_over_thresholds(2.0, rng) > 0.5 for _ in range(5))


@pytest.mark.parametrize(
    "wrong",
    [
        {"false_positives": -1},
        {"false_negatives": 1001},
        {"positives": 0},
        {"thresholds": 0},
        {"alpha": 0.0},
        {"delta": 1.5},
    ],
)
def test_it_refuses_impossible_counts(wrong: dict[str, float]) -> None:
    with pytest.raises(AttackError):
        bound(**wrong)
