import numpy as np
import pytest

from attacks import AttackError
from evaluations import metrics


def test_classification_known_answers():
    logits = np.log([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.1, 0.9]])
    found = metrics.classification(logits, [0, 1, 1, 1])
    assert found.accuracy == 0.75
    assert found.precision == pytest.approx((0.5 + 1.0) / 2)
    assert found.recall == pytest.approx((1.0 + 2 / 3) / 2)
    assert found.f1 == pytest.approx((2 / 3 + 0.8) / 2)
    assert found.loss == pytest.approx(-np.log([0.8, 0.7, 0.4, 0.9]).mean())
    assert found.majority_baseline == 0.75
    assert found.examples == 4


def test_loss_survives_large_logits():
    assert metrics.classification([[1e4, 0.0]], [1]).loss == pytest.approx(1e4)


def test_constant_prediction_meets_its_baseline_without_a_warning():
    found = metrics.classification([[1.0, 0.0]] * 4, [0, 0, 0, 1])
    assert found.accuracy == found.majority_baseline == 0.75
    assert found.recall == 0.5
    assert found.precision == 0.375


def test_a_class_that_is_never_true_stays_out_of_the_macro_average():
    assert metrics.classification([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [0, 1]).recall == 1.0


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([[0.0, 1.0]], [0, 1], "do not fit"),
        ([0.0, 1.0], [0, 1], "do not fit"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "do not fit"),
        ([[0.0, np.nan]], [0], "finite"),
        ([[0.0, 1.0]], [2], r"\[0, 2\)"),
        ([[0.0, 1.0]], [-1], r"\[0, 2\)"),
        ([[0.0, 1.0]], [0.5], "integers"),
    ],
)
def test_classification_refuses(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.classification(logits, labels)


def test_proportion_interval_known_answer():
    found = metrics.proportion_interval(8, 10)
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert metrics.proportion_interval(0, 10).high > 0.25
    for successes, trials in ((1, 0), (-1, 3), (4, 3)):
        with pytest.raises(AttackError, match="trials"):
            metrics.proportion_interval(successes, trials)
