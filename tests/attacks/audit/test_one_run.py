import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from attacks import AttackError
from attacks.audit import epsilon_one_run

KNOWN = json.loads(Path(__file__).with_name("known_answers.json").read_text("utf-8"))


def counts(case: dict[str, float]) -> dict[str, float]:
    return {name: case[name] for name in ("canaries", "guesses", "correct", "delta")}


@pytest.mark.parametrize("case", KNOWN["steinke"])
def test_steinke_gives_the_known_answers(case: dict[str, float]) -> None:
    assert epsilon_one_run(**counts(case)) == pytest.approx(case["epsilon"], abs=1e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", KNOWN["fdp"])
def test_fdp_gives_the_known_answers(case: dict[str, float]) -> None:
    assert epsilon_one_run(**counts(case), bound="fdp") == pytest.approx(case["epsilon"], abs=1e-3)  # type: ignore[arg-type]


def test_steinke_collapses_as_canaries_times_delta_grows_and_fdp_does_not() -> None:
    assert epsilon_one_run(canaries=1000, guesses=200, correct=180, delta=1e-2) == 0.0
    assert epsilon_one_run(canaries=1000, guesses=200, correct=180, delta=1e-2, bound="fdp") > 0.5


def test_no_or_chance_guesses_prove_nothing() -> None:
    for bound in ("steinke", "fdp"):
        assert epsilon_one_run(canaries=100, guesses=0, correct=0, delta=1e-5, bound=bound) == 0.0
        assert epsilon_one_run(canaries=100, guesses=100, correct=50, delta=1e-5, bound=bound) == 0.0


def test_a_mechanism_without_effect_is_rarely_caught() -> None:
    rng = np.random.default_rng(1)
    counted = Counter(rng.binomial(200, 0.5, size=400).tolist())
    lucky = sum(
        times
        for correct, times in counted.items()
        if epsilon_one_run(canaries=200, guesses=200, correct=correct, delta=1e-5) > 0
    )
    assert 0 < lucky <= 0.05 * 400 + 3 * (400 * 0.05 * 0.95) ** 0.5


def test_randomised_response_at_a_known_epsilon_is_bounded_below_it() -> None:
    rng, epsilon = np.random.default_rng(2), 1.0
    correct = rng.binomial(500, np.exp(epsilon) / (1 + np.exp(epsilon)), size=30)
    found = np.array([epsilon_one_run(canaries=500, guesses=500, correct=int(v), delta=0.0) for v in correct])
    assert (found > epsilon).mean() <= 0.14
    assert found.mean() > 0.7 * epsilon


@pytest.mark.parametrize(
    "wrong",
    [{"canaries": 0, "guesses": 0, "correct": 0}, {"guesses": 11}, {"correct": 11}, {"alpha": 1.0}, {"bound": "best"}],
)
def test_it_refuses_impossible_arguments(wrong: dict[str, object]) -> None:
    arguments: dict[str, object] = {"canaries": 10, "guesses": 10, "correct": 9, "delta": 1e-5}
    with pytest.raises(AttackError):
        epsilon_one_run(**(arguments | wrong))  # type: ignore[arg-type]


def test_fdp_needs_a_delta() -> None:
    with pytest.raises(AttackError, match="steinke"):
        epsilon_one_run(canaries=10, guesses=10, correct=10, delta=0.0, bound="fdp")
