from dataclasses import replace

import pytest

import secagg

PLAN = secagg.PlainSum(min_cohort=3).plan(clients=("a", "b", "c", "d", "e"), dim=2)
ONE, TWO, SESSION = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32


def waiting():
    return secagg.HolderMemory().with_open(ONE, session=SESSION, secret=b"secret")


def test_round_trip_at_every_stage():
    answered = waiting().with_answer(PLAN, plan_digest=ONE, survivors=("a", "b", "c"))
    for memory in (secagg.HolderMemory(), waiting(), answered, answered.with_open(TWO, session=SESSION, secret=b"")):
        data = memory.to_bytes()
        assert secagg.HolderMemory.from_bytes(data) == memory
        for length in range(len(data)):
            with pytest.raises(secagg.WireError):
                secagg.HolderMemory.from_bytes(data[:length])
    unsorted = answered.to_bytes().replace(b"\x01a\x01b", b"\x01b\x01a")
    with pytest.raises(secagg.WireError, match="not unique and sorted"):
        secagg.HolderMemory.from_bytes(unsorted)


def test_one_key_and_one_answer_a_plan():
    memory = waiting()
    assert memory.waiting(ONE).secret == b"secret"
    assert "secret" not in repr(memory).replace("secret=", "")
    with pytest.raises(secagg.RefusedError, match="announced before"):
        memory.with_open(ONE, session=SESSION, secret=b"x")
    with pytest.raises(secagg.RefusedError, match="no key was announced"):
        memory.waiting(TWO)
    for after in (memory.with_answer(PLAN, plan_digest=ONE, survivors=("a",)), memory.without(ONE)):
        assert b"secret" not in after.to_bytes()
        for again in (after.waiting, after.without, lambda plan, after=after: after.check_new(plan)):
            with pytest.raises(secagg.RefusedError, match="before"):
                again(ONE)


def test_answers_that_differ_by_few_survivors():
    memory = waiting().with_answer(PLAN, plan_digest=ONE, survivors=("a", "b", "c", "d"))
    again = memory.with_open(TWO, session=SESSION, secret=b"")
    with pytest.raises(secagg.RefusedError, match="differ from the last round's by 1"):
        again.with_answer(PLAN, plan_digest=TWO, survivors=("a", "b", "c"))
    assert again.with_answer(PLAN, plan_digest=TWO, survivors=("a", "b", "c", "d")).answered == (ONE, TWO)


def test_the_groups_of_a_round_do_not_hide_a_difference():
    groups = (("a", "b", "c"), ("d", "e", "f"))
    plan = secagg.PlainSum(min_cohort=2).plan(clients=tuple("abcdef"), dim=2)
    memory = secagg.HolderMemory()
    for number, group in enumerate((*groups, *groups)):
        digest = bytes([number]) * 32
        opened = memory.with_open(digest, session=SESSION, secret=b"")
        memory = opened.with_answer(plan, plan_digest=digest, survivors=group)
    assert memory.last_survivors == groups
    fresh = memory.with_open(bytes([9]) * 32, session=SESSION, secret=b"")
    with pytest.raises(secagg.RefusedError, match="differ from the last round's by 1"):
        fresh.with_answer(plan, plan_digest=bytes([9]) * 32, survivors=("a", "b"))
    mixed = fresh.with_answer(plan, plan_digest=bytes([9]) * 32, survivors=("a", "b", "d", "e"))
    assert mixed.last_survivors == (*groups, ("a", "b", "d", "e")), "c and f were last in the earlier ones"
    noised = secagg.PlainSum(min_cohort=2).plan(clients=tuple("abcdef"), dim=2, noised=True)
    assert fresh.with_answer(noised, plan_digest=bytes([9]) * 32, survivors=("a", "b")).last_survivors == groups


def test_only_one_step_may_follow_what_is_stored():
    stored = waiting()
    announced = stored.with_open(TWO, session=SESSION, secret=b"other")
    answered = stored.with_answer(PLAN, plan_digest=ONE, survivors=("a", "b", "c"))
    for after in (stored, announced, answered, stored.without(ONE)):
        after.check_follows(stored)
    stale = (
        secagg.HolderMemory(),
        waiting().with_open(SESSION, session=SESSION, secret=b""),  # knew nothing of TWO
        announced.without(TWO).without(ONE),  # two steps at once
        answered,  # lost TWO, whose key waits
    )
    for other in stale:
        with pytest.raises(secagg.RefusedError, match="has announced or answered meanwhile; open a new one"):
            other.check_follows(announced)
    with pytest.raises(secagg.RefusedError, match="meanwhile"):
        announced.without(TWO).check_follows(answered)  # would bring the used key of ONE back
    with pytest.raises(secagg.RefusedError, match="meanwhile"):
        replace(announced, last_survivors=(("a",),)).check_follows(stored)
