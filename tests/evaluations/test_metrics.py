import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        with pytest.raises(ValueError, match="trials"):
            metrics.proportion_interval(successes, trials)


def test_bootstrap_is_about_as_wide_as_theory_says():
    sample = np.random.default_rng(1).normal(size=400)
    found = metrics.bootstrap(np.mean, sample, rng=np.random.default_rng(2), resamples=2000)
    width = found.high - found.low
    theory = 2 * 1.96 * sample.std() / 20
    assert 0.9 * theory < width < 1.1 * theory
    assert found.low < found.value < found.high
    narrow = metrics.bootstrap(np.mean, sample, rng=np.random.default_rng(2), resamples=2000, level=0.5)
    assert narrow.high - narrow.low < 0.5 * width


def test_bootstrap_resamples_each_sample_and_repeats_with_its_generator():
    def difference(a, b):
        return float(a.mean() - b.mean())

    first = metrics.bootstrap(difference, [1.0, 2.0, 3.0], [0.0, 0.0], rng=np.random.default_rng(3), resamples=50)
    again = metrics.bootstrap(difference, [1.0, 2.0, 3.0], [0.0, 0.0], rng=np.random.default_rng(3), resamples=50)
    assert first == again
    assert first.value == 2.0


@pytest.mark.parametrize(
    ("samples", "options"), [(([],), {}), ((), {}), (([1.0],), {"resamples": 1}), (([1.0],), {"level": 1})]
)
def test_bootstrap_refuses(samples, options):
    with pytest.raises(ValueError, match=r"bootstrap|resamples"):
        metrics.bootstrap(np.mean, *samples, rng=np.random.default_rng(0), **options)


def test_roc_known_answers():
    curve = metrics.roc([3.0, 2.0, 0.0], [1.0, 0.0])
    assert metrics.area(curve) == pytest.approx((2 + 2 + 0.5) / 6)
    assert metrics.tpr_at(curve, fpr=0.0) == pytest.approx(2 / 3)
    assert metrics.tpr_at(curve, fpr=0.99) == pytest.approx(2 / 3)
    assert metrics.tpr_at(curve, fpr=1.0) == 1.0
    assert metrics.advantage(curve) == pytest.approx(2 / 3)
    assert not curve.true_positive_rate.flags.writeable
    with pytest.raises(ValueError, match="fpr"):
        metrics.tpr_at(curve, fpr=1.5)


scores = st.lists(st.integers(-5, 5), min_size=1, max_size=12)


@given(inside=scores, outside=scores)
def test_area_is_the_chance_of_a_higher_score(inside, outside):
    wins = np.sign(np.subtract.outer(inside, outside)) / 2 + 0.5
    curve = metrics.roc(inside, outside)
    assert metrics.area(curve) == pytest.approx(wins.mean())
    assert 0 <= metrics.tpr_at(curve, fpr=0.01) <= 1
    assert metrics.advantage(curve) >= 0


def test_membership_tells_a_shift_from_nothing():
    draw = np.random.default_rng(5)
    outside = draw.normal(size=400)
    found = metrics.membership(draw.normal(1.0, size=400), outside, rng=np.random.default_rng(6), resamples=200)
    assert found.auc.low < 0.760 < found.auc.high  # Φ(1/√2)
    assert found.advantage.low < 0.383 + 0.06
    assert found.auc.low > 0.5
    assert found.tpr_at_01_percent.value <= found.tpr_at_1_percent.value
    nothing = metrics.membership(outside + 1e-9, outside, rng=np.random.default_rng(6), resamples=200)
    assert nothing.auc.low < 0.5 < nothing.auc.high
    assert nothing.advantage.low > 0  # resampling alone makes an advantage: hence the null control


@pytest.mark.slow
def test_intervals_of_the_auc_cover_the_truth_as_often_as_they_say():
    draw = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        found = metrics.membership(draw.normal(1.0, size=80), draw.normal(size=80), rng=draw, resamples=200)
        covered += found.auc.low < 0.76025 < found.auc.high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize(("inside", "outside"), [([], [1.0]), ([1.0], []), ([np.inf], [1.0]), ([[1.0]], [1.0])])
def test_membership_refuses(inside, outside):
    with pytest.raises(ValueError, match="members"):
        metrics.membership(inside, outside, rng=np.random.default_rng(0))
