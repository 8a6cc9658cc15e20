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
