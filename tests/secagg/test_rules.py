"""What a client refuses before it says a word, and what it counts."""

from dataclasses import replace

import numpy as np
import pytest

import secagg
from secagg import masked_messages as wire
from secagg.manifest import Entry
from secagg.rules import check_plan, check_survivors
from tests.secagg.rounds import NAMES, close, make_round

COHORT = secagg.Cohort.generate(NAMES, secagg.seeded_entropy(b"identities"))
PLAN = secagg.MaskedSum().plan(
    clients=NAMES, dim=6, directory=COHORT.directory, manifest=secagg.Manifest.whole_model(bytes(32))
)
MEMBER = secagg.Member(
    name="client-2",
    identity=COHORT.identities["client-2"],
    directory=COHORT.directory,
    received={"model": bytes(32)},
    min_cohort=3,
    adversarial_fraction=0.1,
    malicious_server=True,
)


def test_an_honest_plan_passes():
    assert check_plan(PLAN, MEMBER) == PLAN.graph


def sybils():
    return secagg.KeyDirectory(members={**COHORT.directory.members, "client-7": bytes(32)})


@pytest.mark.parametrize(
    ("plan", "member", "message"),
    [
        (PLAN, replace(MEMBER, name="mallory"), "not in this round's cohort"),
        (PLAN, replace(MEMBER, min_cohort=4), "below this client's 4"),
        (PLAN, replace(MEMBER, received={"model": b"\1" * 32}), "not what this client received"),
        (PLAN, replace(MEMBER, received={}), "not what this client received"),
        (PLAN, replace(MEMBER, received={"model": bytes(32), "head": bytes(32)}), "does not list"),
        (PLAN, replace(MEMBER, adversarial_fraction=0.3), "fewer than 0.3 of 8"),
        (PLAN, replace(MEMBER, identity=None), "needs identities"),
        (PLAN, replace(MEMBER, directory=None), "needs identities"),
        (PLAN, replace(MEMBER, directory=sybils()), "another key directory"),
        (replace(PLAN, directory=sybils().fingerprint), MEMBER, "another key directory"),
        (PLAN, replace(MEMBER, identity=COHORT.identities["client-3"]), "another key for this client"),
        (replace(PLAN, noised=True), MEMBER, "counts on noise"),
        (replace(PLAN, graph=None), MEMBER, "needs a graph plan"),
        (replace(PLAN, graph=replace(PLAN.graph, threshold=2)), MEMBER, "not the proven"),
        (replace(PLAN, graph=replace(PLAN.graph, degree=2)), MEMBER, "not the proven"),
    ],
)
def test_refused_plans(plan, member, message):
    with pytest.raises(secagg.ProtocolError, match=message):
        check_plan(plan, member)


def test_a_downgrade_to_a_trusted_server():
    curious = secagg.MaskedSum(malicious_server=False).plan(clients=NAMES, dim=6)
    with pytest.raises(secagg.RefusedError, match="trusts the server, this client does not"):
        check_plan(curious, replace(MEMBER, received={}))
    assert not check_plan(curious, secagg.Member(name="client-2")).malicious_server


@pytest.mark.parametrize(("clients", "fraction"), [(25, 0.28), (50, 0.14), (100, 0.07)])
def test_decimal_fractions_are_counted_as_the_plan_counts_them(clients, fraction):
    """0.07 · 100 is 7.000000000000001 in floats: every client would refuse an honest plan."""
    names = tuple(f"c{i:03}" for i in range(clients))
    plan = secagg.MaskedSum(malicious_server=False, adversarial_fraction=fraction).plan(clients=names, dim=1)
    member = secagg.Member(name="c000", adversarial_fraction=fraction)
    assert check_plan(plan, member).colluders == round(fraction * clients)
    with pytest.raises(secagg.RefusedError, match="directory-wide"):
        check_plan(plan, replace(member, adversarial_fraction=fraction + 0.0001))


def test_noise_that_the_contribution_has():
    assert check_plan(replace(PLAN, noised=True), replace(MEMBER, noised=True)) == PLAN.graph


# --- public weights ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "allowed"),
    [
        ((1, 1, 1000, 1, 1, 1, 1, 1), False),  # the sum is client-2's alone
        ((1, 1, 1000, 1000, 1, 1, 1, 1), False),  # client-3 may be corrupt and take itself off
        ((1, 1, 6, 1, 1, 1, 1, 1), True),
        ((1, 1, 7, 1, 1, 1, 1, 1), False),
        ((7, 1, 7, 1, 1, 1, 1, 1), False),
        ((5, 5, 5, 1, 1, 1, 1, 1), True),
        ((9, 9, 9, 9, 9, 9, 9, 9), True),
    ],
)
def test_nobody_outweighs_the_honest_others(weights, allowed):
    plan = replace(PLAN, weights=weights, codec=replace(PLAN.codec, max_weight=1000))
    if allowed:
        check_plan(plan, MEMBER)
    else:
        with pytest.raises(secagg.RefusedError, match="the sum would show this client"):
            check_plan(plan, MEMBER)


@pytest.mark.parametrize("malicious", [True, False])
def test_drops_that_leave_a_client_to_outweigh_the_others(malicious):
    """The cohort hides client-2; without one of the heavy clients the survivors do not."""
    round_ = make_round(malicious=malicious, weights=(1, 4, 10, 4, 4, 1, 1, 1))
    requests = round_.requests("confirm" if malicious else "unmask")
    (mine,) = (e for e in requests if e.recipient == "client-2")
    survivors = wire.pack_set((0, 2, 3, 4, 5, 6, 7), num_clients=8)
    with pytest.raises(secagg.RefusedError, match=r"weight 10 exceeds the 8 .*the sum would show this client"):
        round_.clients["client-2"].step((replace(mine, payload=survivors),))


def test_strangers_in_the_cohort():
    small = secagg.Cohort.generate(NAMES[:7], secagg.seeded_entropy(b"identities"))
    plan = replace(PLAN, directory=small.directory.fingerprint)
    member = replace(MEMBER, directory=small.directory, identity=small.identities["client-2"])
    with pytest.raises(secagg.RefusedError, match="'client-7' is not in the key directory"):
        check_plan(plan, member)


BEARS_TWO = secagg.plan_graph(8, adversarial_fraction=0.2, dropout_fraction=0.1, malicious_server=True)


def ranks(few: int) -> secagg.Manifest:
    """`few` clients fill all 6 coordinates, the others the first 4."""
    return secagg.Manifest(
        entries={name: Entry(parts=(), covered=((0, 6 if i < few else 4),)) for i, name in enumerate(NAMES)}
    )


def test_mixed_ranks_need_min_cohort_clients_everywhere():
    for few, allowed in ((3, True), (2, False)):
        plan = replace(PLAN, manifest=ranks(few))
        if allowed:
            check_plan(plan, replace(MEMBER, received={}))
        else:
            with pytest.raises(secagg.RefusedError, match="filled by 2 clients, fewer than min_cohort = 3"):
                check_plan(plan, replace(MEMBER, received={}))


@pytest.mark.parametrize(("few", "allowed"), [(3, False), (4, True)])
def test_where_clients_fill_different_coordinates_two_honest_ones_must_fill_each(few, allowed):
    """A graph hides whole vectors: two colluders who filled a slot with one other would read it off the sum."""
    plan = replace(PLAN, manifest=ranks(few), graph=BEARS_TWO)
    assert plan.graph.colluders == 2
    member = replace(MEMBER, received={}, adversarial_fraction=0.2)
    if allowed:
        check_plan(plan, member)
        return
    with pytest.raises(secagg.RefusedError, match="by 3 clients, fewer than 4, two more than the 2 corrupt clients"):
        check_plan(plan, member)


def test_so_they_must_among_the_survivors():
    plan = replace(PLAN, manifest=ranks(4), graph=BEARS_TWO)
    everybody = tuple(range(8))
    check_survivors(everybody, sharers=everybody, own_position=1, plan=plan)
    with pytest.raises(secagg.RefusedError, match="by 3 clients, fewer than 4"):
        check_survivors(everybody[1:], sharers=everybody, own_position=1, plan=plan)


def mixed_round(few, fill):
    round_ = make_round(dim=6, manifest=secagg.Manifest())
    plan = replace(round_.plan, manifest=ranks(few))
    protocol, clients = secagg.MaskedSum(), {}
    for i, name in enumerate(NAMES):
        vector = np.full(6, 0.5)
        vector[fill(i) :] = 0
        member = secagg.Member(name=name, identity=COHORT.identities[name], directory=COHORT.directory)
        contribution = plan.encode(name, vector, rng=np.random.default_rng(i))
        clients[name] = protocol.client(plan, member=member, contribution=contribution)
    return protocol.server(plan, directory=COHORT.directory), clients


def test_mixed_ranks_add_up():
    result = secagg.drive(*mixed_round(3, lambda i: 6 if i < 3 else 4), secagg.Recorder())
    assert np.allclose(result.mean, [0.5] * 4 + [0.5 * 3 / 8] * 2, atol=1e-3)


def test_a_drop_that_leaves_a_coordinate_to_too_few_is_refused():
    with pytest.raises(secagg.RoundFailedError, match="filled by 2 clients, fewer than min_cohort = 3"):
        secagg.drive(*mixed_round(3, lambda i: 6 if i < 3 else 4), secagg.Recorder(drop={"upload": {"client-1"}}))


def test_nobody_fills_more_than_its_entry_lists():
    with pytest.raises(secagg.CodecError, match="does not list for it"):
        mixed_round(3, lambda i: 6)


# --- false failure: the server keeps the sum, and asks again without one client --------------------------------


def second_attempt(noised: bool):
    """The server claims failure after it has all answers, and plans the same round again without client-7."""
    manifest = secagg.Manifest.whole_model(bytes(32))
    first = make_round(NAMES, manifest=manifest, noised=noised, members=lambda member: replace(member, noised=noised))
    total = first.finish(())
    assert close(total, first.vectors)

    def remembering(member):
        return replace(member, noised=noised, memory=first.clients[member.name].memory)

    return make_round(NAMES[:7], manifest=manifest, noised=noised, attempt=1, members=remembering), first


@pytest.mark.parametrize("noised", [True, False])
def test_a_false_failure_gets_no_second_sum(noised):
    again, _ = second_attempt(noised)
    # the same vectors, rounded by the same generator: the old release under new masks
    with pytest.raises(secagg.RefusedError, match=r"needs a new release|without DP"):
        again.clients["client-0"].step(())


@pytest.mark.parametrize("noised", [True, False])
def test_two_rounds_side_by_side_get_one_sum(noised):
    """The server asks for the same attempt twice, with and without client-7, before anybody has uploaded: neither
    session knows of the other when it opens, and the difference of the sums would be client-7."""
    stored = {}

    def remember(name, memory):
        memory.check_follows(stored.get(name, secagg.ClientMemory()))
        stored[name] = memory

    manifest = secagg.Manifest.whole_model(bytes(32))
    rounds = [
        make_round(names, manifest=manifest, noised=noised, members=lambda member: replace(member, noised=noised))
        for names in (NAMES, NAMES[:7])
    ]
    assert close(
        secagg.drive(rounds[0].server, rounds[0].clients, secagg.Recorder(), remember=remember), rounds[0].vectors
    )
    with pytest.raises(secagg.RoundFailedError, match="another session has sent something since this one began"):
        secagg.drive(rounds[1].server, rounds[1].clients, secagg.Recorder(), remember=remember)


def test_without_dp_even_a_new_release_is_refused():
    again, first = second_attempt(noised=False)
    contribution = again.plan.encode("client-0", np.full(12, 0.1), rng=np.random.default_rng(99))
    member = secagg.Member(
        name="client-0",
        identity=again.cohort.identities["client-0"],
        directory=again.cohort.directory,
        received={"model": bytes(32)},
        memory=first.clients["client-0"].memory,
    )
    session = secagg.MaskedSum().client(again.plan, member=member, contribution=contribution)
    with pytest.raises(secagg.RefusedError, match="without DP"):
        session.step(())


@pytest.mark.parametrize("malicious", [True, False])
def test_rounds_whose_survivors_differ_by_one_are_not_opened_without_dp(malicious):
    first = make_round(malicious=malicious, round=1)
    first.finish(())
    second = make_round(
        malicious=malicious,
        round=2,
        seed=5,
        members=lambda member: replace(member, memory=first.clients[member.name].memory),
    )
    requests = second.requests("upload")
    second.clients.pop("client-7")
    second.server, requests = second.server.step(second.answers(requests))
    for request in requests:
        with pytest.raises(secagg.RefusedError, match="differ from the last round's by 1"):
            second.clients[request.recipient].step((request,))
