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


def test_searching_thresholds_without_correction_would_break_it() -> None:
    """The trap: without any effect the best of many thresholds 'finds' ε unless alpha is divided."""
    rng = np.random.default_rng(0)
    caught = {1: 0, 60: 0}
    for _ in range(30):
        inside, outside = rng.normal(size=200), rng.normal(size=200)
        grid = np.linspace(-3, 3, 60)
        for thresholds in caught:
            best = max(
                epsilon_clopper_pearson(
                    false_positives=int((outside >= t).sum()),
                    false_negatives=int((inside < t).sum()),
                    positives=200,
                    negatives=200,
                    delta=0.0,
                    alpha=0.4,
                    thresholds=thresholds,
                )
                for t in grid
            )
            caught[thresholds] += best > 0
    assert caught[1] > 18
    assert caught[60] <= 12


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
