import pytest
from scipy.stats import norm

from attacks import AttackError
from attacks.audit import epsilon_gdp


@pytest.mark.parametrize(
    ("noise_multiplier", "tpr_at_1_percent", "epsilon"), [(0.5, 0.3721, 9.997), (1, 0.0924, 4.377), (2, 0.0339, 1.993)]
)
def test_gaussian_canaries_give_the_known_answers(
    noise_multiplier: float, tpr_at_1_percent: float, epsilon: float
) -> None:
    assert epsilon_gdp(fpr=0.01, fnr=1 - tpr_at_1_percent, delta=1e-5) == pytest.approx(epsilon, abs=5e-3)


@pytest.mark.parametrize("fpr", [0.001, 0.1, 0.5, 0.9])
def test_every_threshold_of_a_gaussian_gives_the_same(fpr: float) -> None:
    fnr = float(norm.cdf(norm.ppf(1 - fpr) - 1.0))
    assert epsilon_gdp(fpr=fpr, fnr=fnr, delta=1e-5) == pytest.approx(4.37718, abs=1e-4)


def test_chance_and_a_large_delta_give_nothing() -> None:
    assert epsilon_gdp(fpr=0.5, fnr=0.5, delta=1e-5) == 0.0
    assert epsilon_gdp(fpr=0.5, fnr=0.6, delta=1e-5) == 0.0
    assert epsilon_gdp(fpr=0.45, fnr=0.5, delta=0.5) == 0.0


@pytest.mark.parametrize("wrong", [{"fpr": 0.0}, {"fnr": 1.0}, {"delta": 0.0}])
def test_it_refuses_rates_that_no_gaussian_has(wrong: dict[str, float]) -> None:
    with pytest.raises(AttackError):
        epsilon_gdp(**({"fpr": 0.1, "fnr": 0.2, "delta": 1e-5} | wrong))
