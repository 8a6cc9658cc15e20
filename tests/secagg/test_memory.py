from dataclasses import replace

import pytest

import secagg
from secagg.memory import ClientMemory

PLAN = secagg.PlainSum(min_cohort=3).plan(
    clients=("a", "b", "c", "d", "e"), dim=2, run="r", round=4, manifest=secagg.Manifest.whole_model(bytes(32))
)
ONE, TWO = bytes([1]) * 32, bytes([2]) * 32


def remembered(plan=PLAN, *, contribution=ONE, payload=ONE):
    return ClientMemory().with_upload(plan, name="a", contribution=contribution, payload=payload)


def start(memory, plan, contribution):
    memory.check_start(plan, name="a", contribution=contribution)


def test_the_same_bytes_again():
    memory = remembered()
    start(memory, PLAN, ONE)
    assert memory.with_upload(PLAN, name="a", contribution=ONE, payload=ONE) == memory


def test_the_same_contribution_under_other_masks():
    with pytest.raises(secagg.RefusedError, match="other masks"):
        remembered().with_upload(PLAN, name="a", contribution=ONE, payload=TWO)


def test_another_contribution_for_the_same_attempt():
    with pytest.raises(secagg.RefusedError, match="already answered; plan another attempt"):
        start(remembered(), PLAN, TWO)


def test_the_same_contribution_for_another_attempt():
    noised = replace(PLAN, noised=True)
    memory = remembered(noised)
    for plan in (noised.next_attempt(), replace(noised, round=5), replace(noised, run="s")):
        with pytest.raises(secagg.RefusedError, match="needs a new release"):
            start(memory, plan, ONE)
        start(memory, plan, TWO)


def test_older_rounds():
    for plan in (replace(PLAN, round=3), replace(PLAN, round=3, attempt=9)):
        with pytest.raises(secagg.RefusedError, match="older"):
            start(remembered(), plan, TWO)


def test_one_upload_a_model_without_dp():
    with pytest.raises(secagg.RefusedError, match="without DP"):
        start(remembered(), PLAN.next_attempt(), TWO)
    start(remembered(), replace(PLAN.next_attempt(), noised=True), TWO)
    start(remembered(), replace(PLAN, round=5, manifest=secagg.Manifest.whole_model(ONE)), TWO)
    start(remembered(replace(PLAN, manifest=secagg.Manifest())), replace(PLAN, round=5), TWO)


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        ("abcde", "abcde", True),
        ("abcde", "abcd", False),
        ("abcde", "abc", False),
        ("abcde", "ab", True),
        ("abc", "ade", True),
    ],
)
def test_survivors_differ_by_nobody_or_by_enough(before, after, allowed):
    memory = ClientMemory().with_survivors(PLAN, tuple(before))
    if allowed:
        assert memory.with_survivors(PLAN, tuple(after)).last_survivors == tuple(after)
    else:
        with pytest.raises(secagg.RefusedError, match="fewer than min_cohort"):
            memory.with_survivors(PLAN, tuple(after))
    noised = replace(PLAN, noised=True)
    assert memory.with_survivors(noised, tuple(after)) == memory


def after(memory, *, contribution=TWO, model=TWO):
    plan = replace(PLAN, round=5, manifest=secagg.Manifest.whole_model(model))
    return memory.with_upload(plan, name="a", contribution=contribution, payload=contribution)


def test_a_session_that_knew_what_is_stored_may_replace_it():
    stored = remembered()
    stored.check_follows(ClientMemory())
    stored.check_follows(stored)
    after(stored).check_follows(stored)
    stored.with_survivors(PLAN, ("a", "b", "c")).check_follows(stored)


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        (remembered(), ClientMemory()),
        (remembered(), remembered(payload=TWO)),
        (remembered(), after(ClientMemory())),
        (after(remembered()), remembered()),
        (after(remembered()), remembered().with_survivors(PLAN, ("a", "b", "c"))),
        (remembered().with_survivors(PLAN, ("a", "b", "c")), after(remembered())),
    ],
)
def test_a_session_beside_the_stored_one_may_not(stored, new):
    with pytest.raises(secagg.RefusedError, match="another session has sent something"):
        new.check_follows(stored)


def test_memories_round_trip_and_parse_strictly():
    memory = remembered().with_survivors(PLAN, ("a", "b", "c"))
    data = memory.to_bytes()
    assert ClientMemory.from_bytes(data) == memory
    for length in range(len(data)):
        with pytest.raises(secagg.WireError):
            ClientMemory.from_bytes(data[:length])
    with pytest.raises(secagg.WireError, match="unique and sorted"):
        ClientMemory.from_bytes(replace(memory, last_survivors=("b", "a")).to_bytes())
