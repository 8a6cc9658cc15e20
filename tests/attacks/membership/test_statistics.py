import numpy as np
import pytest
from scipy.stats import norm

from attacks import AttackError
from attacks.membership import (
    confidence_scores,
    fedmia_scores,
    lira,
    lira_scores,
    min_k_score,
    quantile_scores,
    reference_scores,
    rmia_scores,
)


def test_confidence_is_the_logit_of_the_true_class_and_never_overflows() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.05, 0.05, 0.9]]))
    assert confidence_scores(logits, [0, 1]) == pytest.approx(np.log([0.7 / 0.3, 0.05 / 0.95]))
    assert confidence_scores([[1000.0, -1000.0]], [0]) == pytest.approx(2000.0)
    with pytest.raises(AttackError):
        confidence_scores([[1.0]], [0])


def test_reference_and_min_k_known_answers() -> None:
    assert reference_scores([0.5, 2.0], [1.0, 1.0]).tolist() == [0.5, -1.0]
    assert min_k_score([-1.0, -9.0, -2.0, -3.0, -7.0, -1.0, -1.0, -1.0, -1.0, -1.0]) == pytest.approx(-8.0)
    assert min_k_score([-4.0, -1.0]) == -4.0, "one token at least"
    with pytest.raises(AttackError):
        min_k_score([])


def test_lira_scores_are_lira_of_each_example() -> None:
    """The known answer: φ = 2 with N(3, 1) inside and N(0, 1) outside: 1.5 online, Φ(2) one-sided."""
    shadows = np.array([[2.0], [4.0], [-1.0], [1.0]])
    inside = np.array([[True], [True], [False], [False]])
    scores = np.array([2.0])
    assert lira_scores(scores, shadows, inside, mode="online") == pytest.approx([1.5])
    assert lira_scores(scores, shadows, inside, mode="offline") == pytest.approx([0.97725], abs=1e-5)
    assert lira_scores(scores, shadows, inside, mode="online")[0] == lira(2.0, [2.0, 4.0], [-1.0, 1.0])
    with pytest.raises(AttackError):
        lira_scores(scores, shadows[:, :0], inside, mode="online")


def test_rmia_known_answers() -> None:
    """Ratios 0.9/0.6 = 1.5, 0.5/0.5 = 1 and 0.2/0.4 = 0.5 online; P_out and a = 0.3 offline."""
    probabilities = np.array([0.9, 0.5, 0.2])
    shadows = np.array([[0.8, 0.5, 0.4], [0.4, 0.5, 0.4]])
    inside = np.array([[True, False, False], [False, False, False]])
    population = np.array([1, 2])
    online = rmia_scores(probabilities, shadows, inside, population=population, mode="online")
    assert online.tolist() == [1.0, 0.5, 0.0]
    assert rmia_scores(probabilities, shadows, inside, population=population, mode="online", gamma=2.0).tolist() == [
        0.5,
        0.0,
        0.0,
    ]
    # offline: P = ½(1.3·0.4 + 0.7) = 0.61, ½(1.3·0.5 + 0.7) = 0.675, 0.61; ratios 1.475, 0.741, 0.328
    offline = rmia_scores(probabilities, shadows, inside, population=population, mode="offline", gamma=1.9)
    assert offline.tolist() == [1.0, 0.5, 0.0]
    assert rmia_scores(probabilities, shadows, inside, population=population, mode="offline", gamma=2.1).tolist() == [
        0.5,
        0.5,
        0.0,
    ]


def test_offline_rmia_needs_a_model_that_never_saw_the_example() -> None:
    with pytest.raises(AttackError, match="never saw"):
        rmia_scores(
            np.array([0.5, 0.5]),
            np.full((2, 2), 0.5),
            np.array([[True, False], [True, False]]),
            population=np.array([1]),
            mode="offline",
        )


def test_quantile_regression_takes_the_examples_own_difficulty_out() -> None:
    rng = np.random.default_rng(0)
    easy = rng.normal(size=(400, 1)) * 3
    scores = easy[:, 0] + 0.3 * rng.normal(size=400)
    scores[:100] += 1.0
    found = quantile_scores(
        scores[:200], easy[:200], public_scores=scores[200:], public_features=easy[200:], quantile=0.9
    )
    assert (found[:100] > 0).mean() > 0.9
    assert (found[100:] > 0).mean() == pytest.approx(0.1, abs=0.07)
    with pytest.raises(AttackError):
        quantile_scores(scores, easy, public_scores=scores[:5], public_features=easy[:5])


def test_fedmia_adds_one_tailed_log_likelihoods() -> None:
    others = [np.array([[-1.0, 0.0], [1.0, 2.0]])] * 2
    found = fedmia_scores(np.array([[2.0, 1.0], [0.0, 1.0]]), others)
    assert found == pytest.approx([norm.logcdf(2) + norm.logcdf(0), 2 * norm.logcdf(0)])
    with pytest.raises(AttackError):
        fedmia_scores(np.array([[2.0, 1.0]]), [np.zeros((1, 2))])
