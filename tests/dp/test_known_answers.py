"""ε against answers that were computed without any privacy library (`quadrature.py`): within 1 %, and never below."""

import json
import math
from pathlib import Path

import pytest

import dp
from tests.dp import quadrature

ANSWERS = json.loads(Path(__file__).with_name("known_answers.json").read_text(encoding="utf-8"))
MECHANISM = ("sample_rate", "noise_multiplier", "steps", "delta")
SLACK = 1e-3  # the quadrature's own error: its mesh is 2e-4


def name_of(answer):
    return "-".join(f"{answer[field]:g}" for field in MECHANISM)


@pytest.mark.parametrize("accountant", ["prv", "pld"])
@pytest.mark.parametrize("answer", ANSWERS["sums"], ids=name_of)
def test_tight_accountants_are_within_one_percent_and_never_below(answer, accountant):
    found = dp.epsilon(**{field: answer[field] for field in MECHANISM}, accountant=accountant)
    assert answer["tight"] - SLACK <= found <= 1.01 * answer["tight"] + SLACK


@pytest.mark.parametrize("answer", [answer for answer in ANSWERS["sums"] if answer["renyi"]], ids=name_of)
def test_renyi_bounds_are_within_one_percent(answer):
    found = dp.epsilon(**{field: answer[field] for field in MECHANISM}, accountant="rdp")
    assert found == pytest.approx(answer["renyi"], rel=0.01)
    assert found > answer["tight"]


@pytest.mark.parametrize("answer", ANSWERS["groups"], ids=lambda answer: "-".join(answer["epsilons"]))
def test_groups_have_the_noise_and_the_rates_that_nested_root_finding_gives(answer):
    given = ("epsilons", "shares", "delta", "sample_rate", "steps")
    found = dp.individual_rates(**{field: answer[field] for field in given})
    assert found.noise_multiplier == pytest.approx(answer["noise_multiplier"], rel=0.01)
    assert dict(found.groups) == pytest.approx(answer["sample_rates"], rel=0.02)
    for group, rate in found.groups:
        mechanism = {"noise_multiplier": found.noise_multiplier, "sample_rate": rate, "steps": answer["steps"]}
        for accountant in ("prv", "pld"):
            spent = dp.epsilon(**mechanism, delta=answer["delta"], accountant=accountant)
            assert spent == pytest.approx(answer["epsilons"][group], rel=0.01)


@pytest.mark.parametrize("answer", [ANSWERS["sums"][0], ANSWERS["sums"][5]], ids=name_of)
def test_the_file_is_what_the_quadrature_gives(answer):
    sigma, rate = answer["noise_multiplier"], answer["sample_rate"]
    found = quadrature.epsilon(sigma=sigma, rate=rate, steps=answer["steps"], delta=answer["delta"])
    assert found == pytest.approx(answer["tight"], rel=1e-6)


def test_the_quadrature_agrees_with_the_closed_form():
    """Two independent ways to the same number: integration and FFT, and Balle & Wang's formula."""
    for sigma, steps, delta in ((4.0, 9, 1e-5), (1.0, 1, 1e-6)):
        integrated = quadrature.epsilon(sigma=sigma, rate=1 - 1e-12, steps=steps, delta=delta)
        assert integrated == pytest.approx(quadrature.gaussian(sigma=sigma / math.sqrt(steps), delta=delta), rel=1e-3)


def test_an_accountant_that_takes_ten_percent_less_noise_for_the_claimed_is_noticed():
    for answer in ANSWERS["sums"]:
        wrong = dp.epsilon(
            noise_multiplier=0.9 * answer["noise_multiplier"],
            **{field: answer[field] for field in MECHANISM if field != "noise_multiplier"},
        )
        assert wrong > 1.01 * answer["tight"] + SLACK
