"""Events are validated, merge by mechanism, and survive their text form exactly."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.errors import InvalidParameter
from dp.events import (
    DiscreteGaussianSum,
    GroupedGaussian,
    NonPrivate,
    PrivacyBudget,
    SampledGaussian,
    SkellamSum,
    from_json,
    merge,
    seen_by,
    to_json,
)

gaussians = st.builds(
    SampledGaussian,
    noise_multiplier=st.floats(0, 1e6),
    sample_rate=st.floats(0, 1, exclude_min=True),
    steps=st.integers(1, 10**6),
)
sums = [
    st.builds(
        family,
        share_variance=st.floats(1e-3, 1e18),
        shares=st.integers(1, 1000),
        squared_norm=st.integers(1, 10**12),
        dim=st.integers(1, 10**6),
        steps=st.integers(1, 10**6),
    )
    for family in (SkellamSum, DiscreteGaussianSum)
]
events = st.one_of(gaussians, st.builds(NonPrivate, steps=st.integers(1, 5)), *sums)
SHARES = {"share_variance": 4.0, "shares": 2, "squared_norm": 4, "dim": 1, "steps": 1}


@pytest.mark.parametrize("family", [SkellamSum, DiscreteGaussianSum])
def test_sums_of_shares(family):
    assert family(**SHARES).noise_multiplier == pytest.approx(2**0.5)
    for field, bad in [("share_variance", 0.0), ("share_variance", float("inf")), ("shares", 0), ("shares", True),
                       ("squared_norm", 1.5), ("dim", 0), ("steps", 0)]:  # fmt: skip
        with pytest.raises(InvalidParameter, match=field):
            family(**SHARES | {field: bad})


@given(events)
def test_text_form_is_exact(event):
    assert from_json(to_json(event)) == event


@given(st.lists(events, max_size=6))
def test_merging_keeps_every_step_and_forgets_order(found):
    merged = merge(tuple(found))
    assert merged == merge(tuple(reversed(found))) == merge(merged)
    assert sum(e.steps for e in merged) == sum(e.steps for e in found)
    assert len({dataclasses.replace(e, steps=1) for e in found}) == len(merged)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"kind":"Laplace"}', '{"kind":"NonPrivate","steps":0}', '{"kind":"NonPrivate","more":1}', "null"],
)
def test_other_texts_are_refused(text):
    with pytest.raises(InvalidParameter):
        from_json(text)


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (SampledGaussian, {"noise_multiplier": 1.0, "sample_rate": 0.1, "steps": 0}),
        (SampledGaussian, {"noise_multiplier": 1.0, "sample_rate": 0.1, "steps": True}),
        (SampledGaussian, {"noise_multiplier": float("inf"), "sample_rate": 0.1, "steps": 1}),
        (SampledGaussian, {"noise_multiplier": 1.0, "sample_rate": 2.0, "steps": 1}),
        (NonPrivate, {"steps": -1}),
        (PrivacyBudget, {"epsilon": 0.0, "delta": 1e-5}),
        (PrivacyBudget, {"epsilon": float("nan"), "delta": 1e-5}),
        (PrivacyBudget, {"epsilon": 1.0, "delta": 1.0}),
    ],
)
def test_fields_are_validated(cls, fields):
    with pytest.raises(InvalidParameter, match=r"must be"):
        cls(**fields)


def test_frozen_and_infinite_budget():
    with pytest.raises(dataclasses.FrozenInstanceError):
        NonPrivate().steps = 2
    assert PrivacyBudget(epsilon=float("inf"), delta=1e-5).epsilon == float("inf")


GROUPED = GroupedGaussian(noise_multiplier=1.5, groups=(("open", 0.2), ("strict", 0.05)), steps=3)


def test_a_grouped_event_survives_the_round_trip():
    assert from_json(to_json(GROUPED)) == GROUPED


def test_each_group_sees_its_own_mechanism_and_a_stranger_the_worst():
    def event(rate):
        return SampledGaussian(noise_multiplier=1.5, sample_rate=rate, steps=3)

    assert GROUPED.seen_by("strict") == event(0.05)
    assert GROUPED.seen_by("open") == GROUPED.seen_by(None) == GROUPED.seen_by("unknown") == event(0.2)
    plain = NonPrivate(steps=2)
    assert seen_by((plain, GROUPED), "strict") == (plain, event(0.05))


@pytest.mark.parametrize(
    "groups", [(), (("b", 0.1), ("a", 0.1)), (("a", 0.1), ("a", 0.2)), (("a", 0.0),), (("a", 1.1),)]
)
def test_groups_that_say_nothing_are_refused(groups):
    with pytest.raises(InvalidParameter):
        GroupedGaussian(noise_multiplier=1.0, groups=groups, steps=1)


def test_the_budget_of_every_group_must_be_one():
    with pytest.raises(InvalidParameter, match="epsilon"):
        PrivacyBudget(epsilon=1.0, delta=1e-5, groups=(("a", 0.0),))
