import pytest

import secagg
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.sum_groups import plan_of_sum, plans_of_sums
from tests.fedpeft_secure.conftest import MakePlan

NAMES = tuple(sorted(f"client-{index}" for index in range(1, 15)))
KEYS = secagg.Cohort.generate(NAMES, secagg.seeded_entropy(b"keys")).directory


def drawn(plan: RoundPlan, directory: secagg.KeyDirectory = KEYS) -> tuple[tuple[str, ...], ...]:
    return tuple(group.cohort for group in plans_of_sums(plan, directory))


def test_everybody_is_in_one_group_and_groups_are_of_one_size_but_for_one_client(make_plan: MakePlan) -> None:
    plan = make_plan(cohort=NAMES, sum_groups=4)
    groups = drawn(plan)
    assert sorted(name for group in groups for name in group) == list(NAMES)
    assert sorted(map(len, groups)) == [3, 3, 4, 4]
    assert all(list(group) == sorted(group) for group in groups)
    assert groups[0] != NAMES[::4], "drawn, not dealt in order"


def test_the_plan_of_a_group_is_that_of_an_ordinary_round_of_its_members(make_plan: MakePlan) -> None:
    plan = make_plan(cohort=NAMES, sum_groups=4)
    for group in plans_of_sums(plan, KEYS):
        assert group == plan.model_copy(update={"cohort": group.cohort, "sum_groups": 1})
        assert plans_of_sums(group, KEYS) == (group,)
        for name in group.cohort:
            assert plan_of_sum(plan, name, KEYS) == group


def test_without_groups_the_plan_stays_what_it_is(make_plan: MakePlan) -> None:
    plan = make_plan(cohort=NAMES)
    assert plans_of_sums(plan, KEYS) == (plan,)


def test_under_privacy_every_attempt_has_groups_of_its_own(make_plan: MakePlan) -> None:
    changes: list[dict[str, object]] = [{}, {"round": 2}, {"attempt": 1}]
    found = [drawn(make_plan(cohort=NAMES, sum_groups=4, **change)) for change in changes]
    assert len(set(found)) == len(changes)
    assert drawn(make_plan(cohort=NAMES, sum_groups=4, run="another", model_hash="11" * 32)) == found[0], (
        "not by the server"
    )
    other = secagg.Cohort.generate(NAMES, secagg.seeded_entropy(b"other keys")).directory
    assert drawn(make_plan(cohort=NAMES, sum_groups=4), other) not in found


def test_without_privacy_groups_stay_so_that_sums_cannot_be_subtracted(make_plan: MakePlan) -> None:
    changes: list[dict[str, object]] = [{}, {"round": 2}, {"attempt": 1}, {"model_hash": "11" * 32}]
    found = {drawn(make_plan(cohort=NAMES, sum_groups=4, private=False, **change)) for change in changes}
    assert len(found) == 1


def test_a_client_outside_the_cohort_has_no_group(make_plan: MakePlan) -> None:
    with pytest.raises(PolicyError, match="cohort does not include this client"):
        plan_of_sum(make_plan(cohort=NAMES, sum_groups=4), "client-99", KEYS)


def test_more_groups_than_clients_leave_no_group_empty(make_plan: MakePlan) -> None:
    assert [len(group) for group in drawn(make_plan(cohort=NAMES[:3], sum_groups=5))] == [1, 1, 1]
