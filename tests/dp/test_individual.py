"""IDP-SGD: every group spends its own budget, and the expected batch stays what was asked for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dp
from dp.errors import InvalidParameter


def spent(found, *, steps, accountant):
    return {
        name: dp.epsilon(
            noise_multiplier=found.noise_multiplier, sample_rate=rate, steps=steps, delta=1e-5, accountant=accountant
        )
        for name, rate in found.groups
    }


@settings(max_examples=4, deadline=None)
@given(
    epsilons=st.lists(st.floats(0.5, 10.0), min_size=1, max_size=3),
    weights=st.lists(st.floats(0.1, 1.0), min_size=3, max_size=3),
    rate=st.floats(0.02, 0.3),
    steps=st.integers(1, 200),
)
def test_no_group_overspends_and_the_batch_stays(epsilons, weights, rate, steps):
    names = [f"group-{index}" for index in range(len(epsilons))]
    total = sum(weights[: len(names)])
    shares = {name: weight / total for name, weight in zip(names, weights, strict=False)}
    budgets = dict(zip(names, epsilons, strict=True))
    found = dp.individual_rates(
        epsilons=budgets, shares=shares, delta=1e-5, sample_rate=rate, steps=steps, accountant="rdp"
    )
    rates = dict(found.groups)
    assert sum(shares[name] * rates[name] for name in names) == pytest.approx(rate, rel=0.01)
    for name, epsilon in spent(found, steps=steps, accountant="rdp").items():
        assert epsilon <= budgets[name]
        assert rates[name] == 1.0 or epsilon >= 0.99 * budgets[name]


def test_looser_budgets_enter_more_often():
    found = dp.individual_rates(
        epsilons={"open": 8.0, "strict": 1.0},
        shares={"open": 0.7, "strict": 0.3},
        delta=1e-5,
        sample_rate=0.15,
        steps=24,
    )
    assert [name for name, _ in found.groups] == ["open", "strict"]
    assert found.groups[0][1] > 0.15 > found.groups[1][1]
    own, other = spent(found, steps=24, accountant="prv"), spent(found, steps=24, accountant="pld")
    for name, budget in (("open", 8.0), ("strict", 1.0)):
        assert 0.99 * budget <= own[name] <= budget
        assert own[name] == pytest.approx(other[name], rel=0.01)


def test_a_group_that_may_be_used_whole_is_used_whole():
    found = dp.individual_rates(
        epsilons={"a": 0.1, "b": 80.0},
        shares={"a": 0.5, "b": 0.5},
        delta=1e-5,
        sample_rate=0.6,
        steps=24,
        accountant="rdp",
    )
    assert dict(found.groups)["b"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": {"a": 0.5}}, "name the same groups"),
        ({"epsilons": {}, "shares": {}}, "name the same groups"),
        ({"shares": {"a": 0.5, "b": 0.6}}, "add up to 1"),
        ({"shares": {"a": 1.5, "b": -0.5}}, "above 0"),
        ({"epsilons": {"a": 1.0, "b": float("inf")}}, "finite"),
        ({"sample_rate": 0.0}, "sample_rate"),
    ],
)
def test_incomplete_groups_are_refused(change, message):
    good = {
        "epsilons": {"a": 1.0, "b": 2.0},
        "shares": {"a": 0.5, "b": 0.5},
        "delta": 1e-5,
        "sample_rate": 0.1,
        "steps": 5,
    }
    with pytest.raises(InvalidParameter, match=message):
        dp.individual_rates(**(good | change))
