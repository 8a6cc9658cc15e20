"""Every lie that a server can tell a client, one message at a time."""

import gc
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

import secagg
from secagg import masked_messages as wire
from secagg.crypto import x25519_public
from secagg.messages import SERVER
from secagg.signing import Signer
from tests.secagg.rounds import ALL_PHASES, NAMES, for_client, make_round, swapped

ME = "client-2"


def step(round_, requests, payload=None, name=ME):
    return round_.clients[name].step((for_client(requests, name, payload),))


def sets(round_, *positions):
    return wire.pack_set(positions, num_clients=len(round_.plan.clients))


def roster_of(round_, requests):
    return wire.Roster.parse(for_client(requests, ME).payload, num_clients=8, signature_bytes=64)


def tampered(round_, requests, position, **changes):
    adverts = dict(roster_of(round_, requests).adverts)
    adverts[position] = adverts[position]._replace(**changes)
    return wire.Roster(adverts=adverts).to_bytes(num_clients=8)


# --- the roster -------------------------------------------------------------------------------------------------------


def test_own_keys_omitted():
    round_ = make_round()
    requests = round_.requests("share")
    adverts = {p: a for p, a in roster_of(round_, requests).adverts.items() if p != 2}
    with pytest.raises(secagg.RefusedError, match="omits or alters"):
        step(round_, requests, wire.Roster(adverts=adverts).to_bytes(num_clients=8))


@pytest.mark.parametrize("field", ["mask_key", "share_key", "commitment"])
def test_own_keys_altered(field):
    round_ = make_round()
    requests = round_.requests("share")
    with pytest.raises(secagg.RefusedError, match="omits or alters"):
        step(round_, requests, tampered(round_, requests, 2, **{field: bytes(range(32))}))


@pytest.mark.parametrize("field", ["mask_key", "share_key", "commitment", "signature"])
def test_a_neighbours_keys_swapped(field):
    round_ = make_round()
    requests = round_.requests("share")
    other = roster_of(round_, requests).adverts[5]
    changed = bytes([getattr(other, field)[0] ^ 1]) + getattr(other, field)[1:]
    for name in NAMES:
        if name == "client-5":
            continue
        try:
            round_.clients[name].step((for_client(requests, name, tampered(round_, requests, 5, **{field: changed})),))
        except secagg.RefusedError as error:
            assert "not signed by its identity" in str(error)  # noqa: PT017
            break
    else:
        pytest.fail("no neighbour noticed")


def test_a_key_twice():
    round_ = make_round()
    requests = round_.requests("share")
    twin = roster_of(round_, requests).adverts[1].mask_key
    with pytest.raises(secagg.RefusedError, match="repeats a public key"):
        step(round_, requests, tampered(round_, requests, 5, mask_key=twin))


def test_a_key_of_low_order_under_a_curious_plan():
    round_ = make_round(malicious=False)
    requests = round_.requests("share")
    roster = wire.Roster.parse(for_client(requests, ME).payload, num_clients=8, signature_bytes=0)
    adverts = {p: a if p == 2 else a._replace(share_key=bytes([p // 2]) + bytes(31)) for p, a in roster.adverts.items()}
    adverts = {p: a for p, a in adverts.items() if p in (0, 2)} | {
        p: a for p, a in roster.adverts.items() if p not in (0, 2)
    }
    refused = 0
    for name in NAMES[1:]:
        try:
            round_.clients[name].step(
                (for_client(requests, name, wire.Roster(adverts=adverts).to_bytes(num_clients=8)),)
            )
        except secagg.RefusedError as error:
            refused += "invalid" in str(error)
    assert refused


@pytest.mark.parametrize(
    ("everybody", "plan"),
    [
        (False, {}),
        (True, {"manifest": "ranks"}),
        (True, {"min_cohort": 5}),
        (True, {"weights": (3, 3, 3, 3, 2, 2, 2, 2)}),
    ],
)
def test_a_forged_client_far_away_cannot_fill_up_a_cohort_or_a_coordinate(everybody, plan):
    """Its honest neighbours refuse it, and would not be missed; who counts on it must notice."""
    if "manifest" in plan:
        entry = secagg.Entry(parts=(), covered=((0, 12),))
        plan = {"manifest": secagg.Manifest(entries=dict.fromkeys(NAMES, entry))}
    if "min_cohort" in plan:
        plan = {"protocol": secagg.MaskedSum(min_cohort=plan["min_cohort"])}
    round_ = make_round(**plan)
    requests = round_.requests("share")
    refused = []
    for name in NAMES[1:]:
        payload = tampered(round_, requests, 0, signature=bytes(64))
        try:
            step(round_, requests, payload, name=name)
        except secagg.RefusedError as error:
            refused.append(str(error))
    assert all("not signed by its identity" in reason for reason in refused)
    assert len(refused) == (7 if everybody else round_.plan.graph.degree)


def test_too_few_advertised():
    round_ = make_round()
    requests = round_.requests("share")
    adverts = {p: a for p, a in roster_of(round_, requests).adverts.items() if p < 3}
    with pytest.raises(secagg.RefusedError, match="neighbours advertised"):
        step(round_, requests, wire.Roster(adverts=adverts).to_bytes(num_clients=8))


def test_below_the_minimum_cohort():
    round_ = make_round(protocol=secagg.MaskedSum(min_cohort=8))
    requests = round_.requests("share")
    adverts = {p: a for p, a in roster_of(round_, requests).adverts.items() if p}
    with pytest.raises(secagg.RefusedError, match="min_cohort = 8"):
        step(round_, requests, wire.Roster(adverts=adverts).to_bytes(num_clients=8))


@pytest.mark.parametrize("malicious", [True, False])
def test_two_rosters_never_share_a_session(malicious):
    """Some clients are shown a roster without client-7, all of it signed: their masks cancel with nobody else's."""
    round_ = make_round(malicious=malicious)
    requests = round_.requests("share")
    whole = wire.Roster.parse(
        for_client(requests, ME).payload, num_clients=8, signature_bytes=64 if malicious else 0
    ).adverts
    part = wire.Roster(adverts={p: a for p, a in whole.items() if p != 7}).to_bytes(num_clients=8)
    sessions = [step(round_, requests, payload, name=name)[0] for name, payload in ((ME, part), ("client-3", None))]
    assert sessions[0]._state.session != sessions[1]._state.session


# --- the share set ----------------------------------------------------------------------------------------------------


def test_left_out_of_the_share_set():
    round_ = make_round()
    requests = round_.requests("upload")
    with pytest.raises(secagg.RefusedError, match="leaves this client out"):
        step(round_, requests, sets(round_, 0, 1, 3, 4, 5, 6, 7) + for_client(requests, ME).payload[1:])


def test_a_ghost_in_the_share_set():
    round_ = make_round()
    round_.clients.pop("client-7")
    requests = round_.requests("upload")
    with pytest.raises(secagg.RefusedError, match="never advertised"):
        step(round_, requests, sets(round_, *range(8)) + for_client(requests, ME).payload[1:])


def test_shares_of_too_few_neighbours():
    round_ = make_round()
    requests = round_.requests("upload")
    with pytest.raises(secagg.RefusedError, match="shared"):
        step(round_, requests, sets(round_, 0, 2, 3))


def test_sealed_shares_of_the_wrong_number():
    round_ = make_round()
    requests = round_.requests("upload")
    with pytest.raises(secagg.WireError, match="sealed shares"):
        step(round_, requests, for_client(requests, ME).payload[:-82])


# --- the survivor set -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("malicious", "phase"), [(True, "confirm"), (False, "unmask")])
class TestSurvivors:
    def test_listed_as_dropped(self, malicious, phase):
        round_ = make_round(malicious=malicious)
        with pytest.raises(secagg.RefusedError, match="lists this client as dropped"):
            step(round_, round_.requests(phase), sets(round_, 0, 1, 3, 4, 5, 6, 7))

    def test_a_survivor_that_never_shared(self, malicious, phase):
        round_ = make_round(malicious=malicious)
        round_.requests("share")
        round_.clients.pop("client-7")
        with pytest.raises(secagg.RefusedError, match="never shared"):
            step(round_, _from(round_, phase), sets(round_, *range(8)))

    def test_too_few_survivors(self, malicious, phase):
        round_ = make_round(malicious=malicious, protocol=secagg.MaskedSum(malicious_server=malicious, min_cohort=7))
        with pytest.raises(secagg.RefusedError, match="min_cohort = 7"):
            step(round_, round_.requests(phase), sets(round_, *range(6)))

    def test_too_few_neighbours_survive(self, malicious, phase):
        round_ = make_round(malicious=malicious)
        with pytest.raises(secagg.RefusedError, match="neighbours survived"):
            step(round_, round_.requests(phase), sets(round_, *_three_with_one_neighbour(round_, phase)))

    def test_strangers(self, malicious, phase):
        names = NAMES[:5]
        round_ = make_round(names, malicious=malicious)
        with pytest.raises(secagg.WireError, match="outside the cohort"):
            step(round_, round_.requests(phase), b"\xff")


def _from(round_, phase):
    """Goes on from after the share requests, with the clients that are left."""
    round_.server, out = round_.server.step(round_.answers(_last(round_)))
    while out[0].phase != phase:
        round_.server, out = round_.server.step(round_.answers(out))
    return out


def _last(round_):
    """The share request, which `requests` returned without delivering it."""
    progress = round_.server._progress
    roster = progress.roster.to_bytes(num_clients=8)
    return tuple(
        secagg.Envelope(sender=SERVER, recipient=name, phase="share", payload=roster) for name in round_.clients
    )


def _three_with_one_neighbour(round_, phase):
    state = round_.clients[ME]._state
    far = [p for p in range(8) if p not in state.neighbours and p != 2]
    return 2, *far, state.neighbours[0]


# --- consistency ------------------------------------------------------------------------------------------------------


def test_split_survivor_sets_open_nothing():
    """Half of the clients are told that client-0 dropped, the others that it survived: nobody's share leaves."""
    round_ = make_round(seed=3)
    requests = round_.requests("confirm")
    without = sets(round_, *range(1, 8))
    signed = {}
    for name in NAMES[1:]:
        payload = without if int(name[-1]) % 2 else None
        round_.clients[name], (sent,) = round_.clients[name].step((for_client(requests, name, payload),))
        signed[round_.plan.position(name)] = sent.payload[-64:]
    for name in NAMES[1:]:
        near = round_.clients[name]._state.neighbours
        payload = wire.pack_signatures({p: s for p, s in signed.items() if p in near}, num_clients=8)
        with pytest.raises(secagg.RefusedError, match=r"another survivor set|confirmed|not from a surviving"):
            step(round_, (replace(requests[0], recipient=name, phase="unmask", payload=payload),), name=name)


def test_too_few_confirmations():
    round_ = make_round()
    requests = round_.requests("unmask")
    signatures = wire.parse_signatures(for_client(requests, ME).payload, num_clients=8)
    few = dict(list(signatures.items())[: round_.plan.graph.threshold - 1])
    with pytest.raises(secagg.RefusedError, match="confirmed the survivor set"):
        step(round_, requests, wire.pack_signatures(few, num_clients=8))


def test_confirmations_of_strangers_do_not_count():
    round_ = make_round()
    requests = round_.requests("unmask")
    far = next(p for p in range(8) if p not in round_.clients[ME]._state.neighbours and p != 2)
    signatures = wire.parse_signatures(for_client(requests, ME).payload, num_clients=8)
    with pytest.raises(secagg.RefusedError, match="not from a surviving neighbour"):
        step(round_, requests, wire.pack_signatures({**signatures, far: bytes(64)}, num_clients=8))


def test_confirmations_of_the_vanished_do_not_count():
    """A corrupt client that is listed as dropped signs the very sets that say so."""
    round_ = make_round(NAMES[:5])  # everybody is a neighbour
    requests = round_.requests("upload")
    round_.clients.pop("client-4")
    round_.server, requests = round_.server.step(round_.answers(requests))
    round_.server, requests = round_.server.step(round_.answers(requests))
    state = round_.clients[ME]._state
    body = wire.confirmed_sets(state.sharers, state.survivors, num_clients=5)
    signer = Signer(name="client-4", identity=round_.cohort.identities["client-4"])
    signature = signer.signed("confirm", context=state.session, body=body)[-64:]
    signatures = wire.parse_signatures(for_client(requests, ME).payload, num_clients=5)
    with pytest.raises(secagg.RefusedError, match="not from a surviving neighbour"):
        step(round_, requests, wire.pack_signatures({**signatures, 4: signature}, num_clients=5))


def test_a_replayed_confirmation_of_another_session():
    old, new = (make_round(NAMES[:5], seed=1, attempt=attempt) for attempt in (0, 1))  # everybody is a neighbour
    with pytest.raises(secagg.RefusedError, match="forged"):
        step(new, new.requests("unmask"), for_client(old.requests("unmask"), ME).payload)


def test_all_confirmations_above_the_threshold_are_accepted():
    round_ = make_round(tuple(f"c{i}" for i in range(6)))
    assert round_.finish(()).survivors == tuple(f"c{i}" for i in range(6))


# --- one share of one kind, once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("malicious", [True, False])
def test_one_share_of_one_kind_for_each_neighbour(malicious):
    round_ = make_round(malicious=malicious)
    requests = round_.requests("upload")
    gone = round_.clients[ME]._state.neighbours[0]
    round_.clients.pop(round_.plan.clients[gone])
    round_.server, requests = round_.server.step(round_.answers(requests))
    while requests[0].phase != "unmask":
        round_.server, requests = round_.server.step(round_.answers(requests))
    before = round_.clients[ME]._state
    _, (answer,) = step(round_, requests)
    body = answer.payload[:-64] if malicious else answer.payload
    kinds = dict(zip(before.neighbours, wire.parse_shares(body, count=len(before.neighbours)), strict=True))
    for position, (kind, share) in kinds.items():
        assert kind == (wire.KEY_SHARE if position == gone else wire.SEED_SHARE)
        assert share in before.shares[position]
    assert len(body) == 34 * len(before.neighbours)


@pytest.mark.parametrize("malicious", [True, False])
def test_a_second_unmask_request_is_refused(malicious):
    round_ = make_round(malicious=malicious)
    requests = round_.requests("unmask")
    old = round_.clients[ME]
    done, sent = step(round_, requests)
    assert done.done
    assert sent
    for session in (done, old):
        with pytest.raises(secagg.SessionSpentError):
            session.step((for_client(requests, ME),))


@pytest.mark.parametrize("phase", ALL_PHASES[1:])
def test_every_step_spends_the_session(phase):
    round_ = make_round()
    requests = round_.requests(phase)
    old = round_.clients[ME]
    step(round_, requests)
    assert old.state == "Spent"
    with pytest.raises(secagg.SessionSpentError, match="already stepped"):
        old.step((for_client(requests, ME),))


@pytest.mark.parametrize("phase", ALL_PHASES[1:])
def test_a_refusal_ends_the_session(phase):
    round_ = make_round()
    requests = round_.requests(phase)
    with pytest.raises(secagg.ProtocolError):
        step(round_, requests, b"garbage")
    with pytest.raises(secagg.SessionSpentError):
        step(round_, requests)


@pytest.mark.parametrize("phase", ALL_PHASES[1:])
def test_truncated_and_longer_requests_are_refused(phase):
    payload = for_client(make_round().requests(phase), ME).payload
    for bad in (payload[:-1], payload + b"\0", b""):
        round_ = make_round()
        with pytest.raises(secagg.ProtocolError):
            step(round_, round_.requests(phase), bad)


# --- order and senders ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ALL_PHASES[1:])
def test_an_old_request_again_gets_no_answer(phase):
    round_ = make_round()
    requests = round_.requests(phase)
    old = round_.transcript.between(recipient=ME)
    after, sent = round_.clients[ME].step(old)
    assert sent == ()
    assert (
        after.state == {"share": "Advertised", "upload": "Shared", "confirm": "Uploaded", "unmask": "Confirmed"}[phase]
    )
    assert after.step((for_client(requests, ME), *old))[1]


def test_a_request_out_of_turn():
    round_ = make_round()
    requests = round_.requests("upload")
    with pytest.raises(secagg.RefusedError, match="expects 'upload'"):
        round_.clients[ME].step((replace(for_client(requests, ME), phase="unmask"),))


def test_an_unknown_phase():
    round_ = make_round()
    request = replace(for_client(round_.requests("share"), ME), phase="gossip")
    with pytest.raises(secagg.RefusedError, match="asks for"):
        round_.clients[ME].step((request,))


def test_two_different_requests_at_once():
    round_ = make_round()
    requests = round_.requests("confirm")
    with pytest.raises(secagg.RefusedError, match="two different"):
        round_.clients[ME].step((for_client(requests, ME), for_client(requests, ME, sets(round_, 1, 2, 3, 4, 5, 6))))


def test_a_request_before_the_first_step():
    client = make_round().clients[ME]
    with pytest.raises(secagg.RefusedError, match="before this client advertised"):
        client.step((secagg.Envelope(sender=SERVER, recipient=ME, phase="share", payload=b""),))


@pytest.mark.parametrize("change", [{"sender": "client-1"}, {"recipient": "client-1"}])
def test_a_request_of_somebody_else(change):
    round_ = make_round()
    request = replace(for_client(round_.requests("share"), ME), **change)
    with pytest.raises(secagg.RefusedError, match="not from the server"):
        round_.clients[ME].step((request,))


# --- split models -----------------------------------------------------------------------------------------------------


def test_split_models_get_no_sum():
    """The server shows client-2 another model under the same plan: client-2 refuses before it says a word."""
    manifest = secagg.Manifest.whole_model(secagg.part_digest(b"model"))

    def lied_to(member):
        return replace(member, received={"model": secagg.part_digest(b"crafted")}) if member.name == ME else member

    with pytest.raises(secagg.RefusedError, match="others may hold another model"):
        make_round(manifest=manifest, members=lied_to)


def test_under_a_curious_plan_two_models_never_share_a_session():
    """Without signatures the session itself, and so every mask, depends on the plan and its manifest."""
    rounds = [
        make_round(manifest=secagg.Manifest.whole_model(secagg.part_digest(model)), malicious=False)
        for model in (b"a", b"b")
    ]
    first, second = (round_.requests("share") for round_ in rounds)
    assert first == second  # the same seeds, hence the same keys
    sessions = {step(round_, first)[0]._state.session for round_ in rounds}
    assert len(sessions) == 2


def test_two_plans_for_two_models_never_share_a_session():
    """The server runs two plans side by side, one a model, and mixes their messages: nothing opens."""
    rounds = [
        make_round(manifest=secagg.Manifest.whole_model(secagg.part_digest(model)), seed=1) for model in (b"a", b"b")
    ]
    first, second = (round_.requests("share") for round_ in rounds)
    mixed = dict(roster_of(rounds[0], first).adverts)
    theirs = roster_of(rounds[1], second).adverts
    roster = wire.Roster(adverts={p: mixed[p] if p % 2 == 0 else theirs[p] for p in range(8)})
    with pytest.raises(secagg.RefusedError, match="not signed by its identity"):
        step(rounds[0], first, roster.to_bytes(num_clients=8))


# --- secrets ----------------------------------------------------------------------------------------------------------


def reachable(root) -> list[bytes]:
    found, seen, todo = [], set(), [root]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type):
            continue
        seen.add(id(thing))
        if isinstance(thing, bytes):
            found.append(thing)
        elif isinstance(thing, np.ndarray):
            found.append(thing.tobytes())
        elif isinstance(thing, (dict, list, tuple, set, frozenset)):
            todo.extend([*thing, *thing.values()] if isinstance(thing, dict) else thing)
        elif is_dataclass(thing):
            todo.extend(getattr(thing, field.name) for field in fields(thing))
    return found


def test_secrets_are_unreachable_once_used():
    round_ = make_round()
    round_.answers(())
    advertised = round_.clients[ME]._state
    secrets = {name: getattr(advertised, name) for name in ("mask_private", "share_private", "seed")}
    contribution = advertised.contribution.residues[0].tobytes()
    assert x25519_public(secrets["mask_private"]) in advertised.own_body
    gone = {
        "upload": ("share_private",),
        "confirm": ("share_private", "mask_private", "seed"),
        "unmask": ("share_private", "mask_private", "seed"),
    }
    del advertised
    round_ = make_round()  # the same seeds again, walked phase by phase
    for phase, names in gone.items():
        fresh = make_round()
        fresh.requests(phase)
        gc.collect()
        held = reachable(fresh.clients[ME])
        for name in names:
            assert not any(secrets[name] in blob for blob in held), (phase, name)
        assert any(contribution in blob for blob in held) == (phase == "upload")
    final = make_round()
    requests = final.requests("unmask")
    shares = set(final.clients[ME]._state.shares.values())
    done, _ = step(final, requests)
    assert shares
    assert not shares & set(reachable(done))
    assert done.state == "Done"


def test_no_secret_in_reprs_or_errors():
    round_ = make_round()
    round_.answers(())
    state = round_.clients[ME]._state
    identity = round_.cohort.identities[ME]
    secrets = [state.mask_private, state.share_private, state.seed, identity.private]
    texts = [repr(round_.clients[ME]), repr(state), repr(state.public), repr(identity), repr(state.contribution)]
    for secret in secrets:
        assert not any(repr(secret)[2:-1] in text or secret.hex() in text for text in texts)


def test_a_neighbour_that_sealed_garbage_costs_only_its_own_help():
    round_ = make_round()
    requests = round_.requests("upload")
    mine = for_client(requests, ME)
    round_.clients[ME], sent = round_.clients[ME].step((replace(mine, payload=mine.payload[:-82] + bytes(82)),))
    others = tuple(e for e in requests if e.recipient != ME)
    round_.server, out = round_.server.step((*round_.answers(others), *sent))
    result = round_.finish(out)
    assert result.survivors == NAMES


def test_swapping_requests_between_clients_is_noticed():
    round_ = make_round()
    requests = round_.requests("upload")
    foreign = replace(for_client(requests, "client-3"), recipient=ME)
    out = swapped(requests, foreign)
    try:
        result = round_.finish(out)
    except secagg.ProtocolError:
        return
    assert np.abs(result.mean - np.mean([round_.vectors[n] for n in result.survivors], axis=0)).max() < 1e-3
