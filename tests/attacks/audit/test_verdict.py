import numpy as np
import pytest

from attacks import AttackError
from attacks.audit.claim import Claim
from attacks.audit.verdict import Scored, guess, lower_bounds
from tests.attacks.audit.test_claim import claim_of


def gaussian_scores(rng: np.random.Generator, *, noise: float, canaries: int = 2000, effect: float = 1.0) -> Scored:
    """One release of `noise`, claimed or not; the score assumes the effect and the noise that are really there."""
    included = rng.random(canaries) < 0.5
    values = effect * included + noise * rng.normal(size=canaries)
    return Scored(scores=(values - 0.5) / noise**2, included=included)


def bounds(scored: Scored, claim: Claim, alpha: float = 1e-3) -> dict[str, float]:
    return {bound.method: bound.epsilon for bound in lower_bounds(scored, claim, alpha=alpha)}


def test_no_effect_gives_no_bound_in_95_of_100_trials() -> None:
    """400 trials without any effect of the canaries at α = 0.05, all methods and thresholds together."""
    rng, claim = np.random.default_rng(0), claim_of(1.0)
    positive = 0
    for _ in range(400):
        scored = gaussian_scores(rng, noise=1.0, canaries=200, effect=0.0)
        binding = [bound for bound in lower_bounds(scored, claim, alpha=0.05) if bound.binding]
        positive += max(bound.epsilon for bound in binding) > 0
    assert positive <= 0.05 * 400


def test_searching_thresholds_without_correction_would_find_something_in_nothing() -> None:
    """The trap: the best of 100 thresholds at α = 0.05 each, against the corrected one."""
    from attacks.audit import epsilon_clopper_pearson

    rng, found = np.random.default_rng(1), {1: [], 100: []}
    for _ in range(60):
        scored = gaussian_scores(rng, noise=1.0, canaries=400, effect=0.0)
        inside, outside = scored.scores[scored.included], scored.scores[~scored.included]
        for thresholds, best in found.items():  # one stands for no correction
            tried = [
                epsilon_clopper_pearson(
                    false_positives=int((outside > t).sum()),
                    false_negatives=int((inside <= t).sum()),
                    positives=inside.size,
                    negatives=outside.size,
                    delta=0.0,
                    thresholds=thresholds,
                )
                for t in np.linspace(-2.5, 1.5, 100)
            ]
            best.append(max(tried))
    assert np.mean(np.array(found[1]) > 0) > 0.05
    assert np.mean(np.array(found[100]) > 0) <= 0.05


def test_an_honest_gaussian_is_bounded_below_its_epsilon_and_the_estimate_is_near_it() -> None:
    claim = claim_of(1.0)
    for seed in range(5):
        found = bounds(gaussian_scores(np.random.default_rng(seed), noise=1.0), claim)
        estimate = found.pop("GDP estimate")
        assert max(found.values()) <= claim.spent.epsilon
        assert estimate >= 0.65 * claim.spent.epsilon
        assert found["one-run, f-DP of the mechanism"] > 0.25 * claim.spent.epsilon


@pytest.mark.parametrize(("noise", "effect"), [(0.5, 1.0), (1.0, 4.0)])
def test_too_little_noise_or_too_large_an_effect_is_refuted(noise: float, effect: float) -> None:
    claim = claim_of(2.0)
    found = bounds(gaussian_scores(np.random.default_rng(2), noise=noise, effect=effect), claim)
    del found["GDP estimate"]
    assert max(found.values()) > claim.spent.epsilon


def test_the_parts_of_alpha_add_up_to_it() -> None:
    found = lower_bounds(gaussian_scores(np.random.default_rng(0), noise=1.0, canaries=50), claim_of(1.0), alpha=0.03)
    assert sum(bound.alpha for bound in found if bound.alpha is not None) == pytest.approx(0.03)
    assert [bound.method for bound in found if not bound.binding] == ["GDP estimate"]


def test_guesses_are_the_two_ends() -> None:
    scored = Scored(scores=np.array([3.0, -1.0, 0.0, 2.0]), included=np.array([True, True, False, False]))
    assert guess(scored, 0.5) == (2, 1)
    assert guess(scored, 1.0) == (4, 2)
    assert guess(scored, 0.01) == (2, 1)


@pytest.mark.parametrize(
    ("scores", "included"),
    [
        (np.zeros(3), np.ones(3, dtype=bool)),
        (np.zeros(3), np.zeros(3, dtype=bool)),
        (np.zeros(3), np.array([True, False])),
        (np.array([np.nan, 1.0]), np.array([True, False])),
    ],
)
def test_scores_without_both_sides_are_refused(scores: np.ndarray, included: np.ndarray) -> None:
    with pytest.raises(AttackError):
        Scored(scores=scores, included=included)
