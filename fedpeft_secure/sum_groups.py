"""The groups of a round's cohort, each with a secure sum of its own: everybody computes them from public facts."""

import hashlib

import secagg
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.plans import RoundPlan


def plans_of_sums(plan: RoundPlan, directory: secagg.KeyDirectory) -> tuple[RoundPlan, ...]:
    """The plan of every secure sum of a round: that of the round itself, or of each of its groups.

    Groups differ by one client at most in size. Under privacy they are drawn anew for every attempt; else once for a
    cohort, since sums of overlapping groups could be subtracted from each other.

    Guarantee: clients and server find the same groups, which follow from everybody's pinned keys, the cohort and, under
        privacy, the round and its attempt: a server that lies cannot draw until it likes them.
    Does not cover: a server that picks the cohort, or skips attempts. Nothing rests on the draw: the sum of a group
        bears all corrupt clients of the whole directory, and a robust mean is meant for liars in as many groups as
        there are liars.

    Args:
        plan: of the whole round.
        directory: the pinned keys of all clients.
    """
    if plan.sum_groups == 1:
        return (plan,)
    order = sorted(plan.cohort, key=lambda name: _place(_draw(plan, directory), name))
    groups = (order[index :: plan.sum_groups] for index in range(min(plan.sum_groups, len(order))))
    return tuple(plan.model_copy(update={"cohort": tuple(sorted(names)), "sum_groups": 1}) for names in groups)


def plan_of_sum(plan: RoundPlan, client: str, directory: secagg.KeyDirectory) -> RoundPlan:
    """The plan of the sum that `client` is in.

    Raises:
        PolicyError: If it is in none.
    """
    for own in plans_of_sums(plan, directory):
        if client in own.cohort:
            return own
    raise PolicyError(f"{client} refuses round {plan.round}: the plan's cohort does not include this client")


def _draw(plan: RoundPlan, directory: secagg.KeyDirectory) -> bytes:
    drawn = f"{plan.round}\0{plan.attempt}" if plan.private else "once"
    return f"fedpeft-secure/groups/v1\0{directory.fingerprint.hex()}\0{drawn}\0".encode()


def _place(draw: bytes, name: str) -> bytes:
    return hashlib.sha256(draw + name.encode()).digest()
