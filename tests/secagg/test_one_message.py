"""What every sum in one message refuses and survives, whatever hides the contributions."""

import gc
from dataclasses import replace

import numpy as np
import pytest

import secagg
from secagg import one_message_wire as wire
from secagg.masks import Masker
from secagg.one_message_wire import ANNOUNCE
from tests.secagg.one_message import KEY_HOLDER, NAMES, PROTOCOLS, SERVER, Envelope, close, flipped, make
from tests.secagg.test_client import reachable

every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.label)
ME = "client-2"


@every_protocol
def test_a_round(protocol):
    round_ = make(protocol)
    result = round_.finish()
    assert result.survivors == NAMES
    assert close(result, round_.vectors)
    assert round_.server.rejected == ()
    assert [e.phase for e in round_.transcript if e.sender == ME] == ["upload"]


@every_protocol
def test_summed_weights_of_many_bits(protocol):
    protocol = replace(protocol, codec=secagg.FixedPoint(clip=1.0, bits=8, max_weight=1_000_000))
    round_ = make(protocol, summed_weights=True, weight=654_321)
    assert round_.finish().total_weight == 6 * 654_321


@every_protocol
def test_the_server_replays_its_own_computation(protocol):
    round_ = make(protocol)
    result = round_.finish()
    transcript = secagg.Transcript(envelopes=tuple(round_.transcript))
    again = secagg.replay_aggregate(protocol, round_.plan, transcript, directory=round_.cohort.directory)
    assert (again.integers == result.integers).all()
    short = secagg.Transcript(envelopes=tuple(round_.transcript[:-1]))
    with pytest.raises(secagg.RoundFailedError, match="ends before the sum"):
        secagg.replay_aggregate(protocol, round_.plan, short, directory=round_.cohort.directory)


# --- who is who -------------------------------------------------------------------------------------------------------


@every_protocol
def test_a_server_that_substitutes_a_key_of_its_own_is_refused(protocol):
    round_, other = make(protocol), make(protocol, seed=1)
    own = secagg.Identity.generate()
    forged = replace(other.cohort, directory=replace(other.cohort.directory, key_holder=own.public), key_holder=own)
    fake = make(protocol, cohort=forged).announced()[0]
    for request in (fake, flipped(round_.announced()[0]), replace(fake, payload=b"")):
        client = make(protocol).clients[ME]
        with pytest.raises(secagg.RefusedError, match=r"announce: .*; this client pinned another key holder"):
            client.step((replace(request, recipient=ME),))


@every_protocol
def test_an_announcement_of_another_plan_is_refused(protocol):
    old = make(protocol).announced()[0]
    with pytest.raises(secagg.RefusedError, match="the round another plan"):
        make(protocol, attempt=1).clients[old.recipient].step((old,))


def test_a_key_of_low_order_is_refused():
    round_ = make()
    public, holder = bytes(32), round_.cohort.key_holder
    payload = secagg.one_message_wire.announce(public, plan_digest=round_.plan.digest(), identity=holder)
    request = Envelope(sender=SERVER, recipient=ME, phase="upload", payload=payload)
    with pytest.raises(secagg.RefusedError, match="public key is invalid"):
        round_.clients[ME].step((request,))


@pytest.mark.parametrize("changes", [{"sender": "client-1"}, {"recipient": "client-1"}, {"phase": "open"}])
def test_a_client_hears_the_server_only(changes):
    round_ = make()
    request = next(e for e in round_.announced() if e.recipient == ME)
    with pytest.raises(secagg.RefusedError, match="not the server's request"):
        round_.clients[ME].step((replace(request, **changes),))


def test_two_round_keys_at_once():
    round_ = make()
    request = next(e for e in round_.announced() if e.recipient == ME)
    with pytest.raises(secagg.RefusedError, match="two different round keys"):
        round_.clients[ME].step((request, flipped(request)))
    assert round_.clients[ME].state == "Spent"


def test_the_same_request_twice_in_one_inbox_is_one_upload():
    round_ = make()
    request = next(e for e in round_.announced() if e.recipient == ME)
    done, sent = round_.clients[ME].step((request, request))
    assert (done.state, done.done, len(sent)) == ("Done", True, 1)


def test_sessions_are_single_use():
    round_ = make()
    waiting = round_.clients[ME]
    still, nothing = waiting.step(())
    assert (still.state, nothing) == ("Waiting", ())
    holder, server = round_.key_holder, round_.server
    round_.clients[ME] = still
    round_.finish()
    for spent in (waiting, still, round_.clients[ME], holder, round_.key_holder, server, round_.server):
        with pytest.raises(secagg.SessionSpentError):
            spent.step(())
    assert holder.state == "Spent"
    assert (server.result, server.rejected) == (None, ())


def test_an_upload_under_another_announcement_is_not_sent_for_the_same_attempt():
    first = make()
    first.finish()
    memory = first.clients[ME].memory

    def remembering(member):
        return replace(member, memory=memory) if member.name == ME else member

    second = make(members=remembering)
    assert second.uploads(second.announced())[2] in first.transcript  # the very same bytes may go again
    third = make(members=remembering)
    third.key_holder = make(seed=9).key_holder
    request = next(e for e in third.announced() if e.recipient == ME)
    with pytest.raises(secagg.RefusedError, match="already uploaded under other masks"):
        third.clients[ME].step((request,))


def test_a_contribution_is_sent_for_one_attempt_only():
    first = make(noised=True)
    first.finish()
    memory = first.clients[ME].memory
    again = make(noised=True, attempt=1, members=lambda m: replace(m, memory=memory) if m.name == ME else m)
    request = next(e for e in again.announced() if e.recipient == ME)
    with pytest.raises(secagg.RefusedError, match="this contribution was sent before"):
        again.clients[ME].step((request,))


# --- what a client insists on -----------------------------------------------------------------------------------------


@every_protocol
def test_only_the_helper_withstands_a_server_that_lies(protocol):
    def suspicious(member):
        return replace(member, malicious_server=True)

    if protocol.malicious_server:
        assert close((round_ := make(protocol, members=suspicious)).finish(), round_.vectors)
        return
    with pytest.raises(secagg.RefusedError, match="recovers the round's key with one forged ciphertext; use masked or"):
        make(protocol, members=suspicious)


def test_the_corrupt_clients_of_the_whole_directory_must_fit_below_min_cohort():
    def wary(member):
        return replace(member, adversarial_fraction=0.3)

    with pytest.raises(
        secagg.RefusedError, match=r"min_cohort = 3 leaves a sum of one beside 2 corrupt .* raise it to 4"
    ):
        make(members=wary)
    assert close((round_ := make(secagg.HelperSum(min_cohort=4), members=wary)).finish(), round_.vectors)


def test_corrupt_clients_outside_the_cohort_count_too():
    everybody = secagg.Cohort.with_key_holder(tuple(f"client-{i}" for i in range(20)))
    with pytest.raises(secagg.RefusedError, match="beside 6 corrupt clients; raise it to 8"):
        make(secagg.HelperSum(), cohort=everybody, members=lambda member: replace(member, adversarial_fraction=0.3))


def test_the_lightest_survivors_must_still_hide_a_heavy_client():
    codec = secagg.FixedPoint(clip=1.0, max_weight=1000)
    with pytest.raises(secagg.RefusedError, match="weight 9 exceeds the 2 of the others without the 1 heaviest"):
        make(secagg.HelperSum(codec=codec), weights=(2, 2, 2, 2, 2, 9))
    for min_cohort, weights in ((6, (2, 3, 4, 5, 6, 7)), (3, (5, 5, 5, 5, 5, 5))):
        round_ = make(secagg.HelperSum(codec=codec, min_cohort=min_cohort), weights=weights)
        assert round_.finish().total_weight == sum(weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda member: replace(member, min_cohort=4), "below this client's 4"),
        (lambda member: replace(member, received={"model": bytes(32)}), "does not list"),
        (lambda member: replace(member, identity=None), "needs identities"),
        (lambda member: replace(member, directory=replace(member.directory, key_holder=b"")), "another key directory"),
    ],
)
def test_plans_that_a_client_refuses(change, message):
    with pytest.raises(secagg.RefusedError, match=message):
        make(members=change)


def test_plans_need_a_directory_with_a_key_holder():
    for directory in (None, secagg.Cohort.generate(NAMES).directory):
        with pytest.raises(secagg.PlanError, match="pins a key holder; add its public key"):
            secagg.BfvSum().plan(clients=NAMES, dim=3, directory=directory)
        with pytest.raises(secagg.PlanError, match="needs the key directory, to check signatures"):
            secagg.HelperSum().server(make().plan, directory=directory)


def test_a_plan_of_another_protocol_or_layout():
    round_ = make()
    with pytest.raises(secagg.PlanError, match="for the 'helper' sum, not for 'bfv'"):
        secagg.BfvSum().server(round_.plan, directory=round_.cohort.directory)
    longer = make(dim=8).plan.encode(ME, np.zeros(8), rng=np.random.default_rng(0))
    member = secagg.Member(name=ME, identity=round_.cohort.identities[ME], directory=round_.cohort.directory)
    with pytest.raises(secagg.CodecError, match="another layout"):
        round_.protocol.client(round_.plan, member=member, contribution=longer)


def test_nobody_is_called_like_the_third_party():
    with pytest.raises(secagg.PlanError, match='not called "server" or "key-holder"'):
        secagg.PlainSum().plan(clients=(KEY_HOLDER, "a"), dim=1)


# --- what the server drops, with a reason -----------------------------------------------------------------------------


def _corrupted(uploads, position, change):
    return [change(e) if e.sender == f"client-{position}" else e for e in uploads]


@every_protocol
def test_bad_uploads_are_dropped_with_a_reason_and_the_round_goes_on(protocol):
    round_, foreign = make(protocol, dim=70), make(protocol, dim=70, attempt=1)
    requests = round_.announced()
    uploads = round_.uploads(requests)
    other = next(e for e in foreign.uploads(foreign.announced()) if e.sender == "client-1")
    uploads = _corrupted(uploads, 0, lambda e: replace(e, payload=e.payload[:-1]))
    uploads = _corrupted(uploads, 1, lambda e: replace(e, payload=other.payload))
    uploads = _corrupted(uploads, 2, flipped)
    uploads += [replace(uploads[3], sender="mallory"), replace(uploads[3], phase="confirm"), flipped(uploads[3])]
    question = round_.question(uploads)
    assert round_.server.rejected[0].startswith("upload: mallory: late, early or from a stranger")
    reasons = "\n".join(round_.server.rejected)
    assert "upload: client-0: upload of" in reasons
    assert "upload: client-1: is not signed by its identity for this session" in reasons
    assert "upload: client-2: is not signed" in reasons
    result = round_.result(round_.answer(question))
    assert result.survivors == ("client-3", "client-4", "client-5")
    assert close(result, round_.vectors)


def test_no_sender_makes_the_server_check_many_copies():
    round_ = make()
    uploads = round_.uploads(round_.announced())
    copies = [flipped(uploads[2], position) for position in range(6)]
    round_.question([*uploads[:2], *copies, *uploads[2:]])
    assert [line for line in round_.server.rejected if ME in line] == [
        f"upload: {ME}: is not signed by its identity for this session, model and plan"
    ]


@every_protocol
def test_a_second_signed_upload_of_one_client_removes_it(protocol):
    round_ = make(protocol)
    requests = round_.announced()
    uploads = round_.uploads(requests)
    twin = make(protocol, seed=5)
    (second,) = [e for r in requests if r.recipient == ME for e in twin.clients[ME].step((r,))[1]]
    result = round_.result(round_.answer(round_.question([*uploads, second])))
    assert ME not in result.survivors
    assert round_.server.rejected == (f"upload: {ME}: sent two different messages",)


@pytest.mark.parametrize("protocol", PROTOCOLS[1:], ids=lambda protocol: protocol.label)
def test_a_signed_ciphertext_of_another_context_is_dropped(protocol):
    round_ = make(protocol)
    requests = round_.announced()
    uploads = round_.uploads(requests)
    session = secagg.one_message_wire.session_id(round_.plan.digest(), requests[0].payload)
    size = protocol.scheme(round_.plan).body_bytes
    hidden = secagg.scheme.Hidden(body=b"\xff" * size, capsule=b"")  # all ones: above every prime
    model, identity = round_.plan.manifest.model_digest(ME), round_.cohort.identities[ME]
    signed = secagg.one_message_wire.state(hidden, session=session, name=ME, model=model, identity=identity)
    uploads = _corrupted(uploads, 2, lambda e: replace(e, payload=hidden.body + signed.signature))
    result = round_.result(round_.answer(round_.question(uploads)))
    assert ME not in result.survivors
    assert "not below its prime; it is of another context" in round_.server.rejected[0]


def test_too_few_uploads():
    round_ = make()
    uploads = round_.uploads(round_.announced())
    bad = [flipped(e) for e in uploads[2:]]
    with pytest.raises(
        secagg.RoundFailedError, match=r"only 2 clients uploaded, min_cohort = 3; .*client-2: is not signed"
    ):
        round_.question([*uploads[:2], *bad])


def test_no_key_no_round():
    round_ = make()
    with pytest.raises(secagg.RoundFailedError, match="announced no key for this round; start another attempt"):
        round_.server.step(())
    round_ = make()
    _, sent = round_.key_holder.step(())
    with pytest.raises(secagg.RoundFailedError, match=r"announced no key .*announce: .* is not signed"):
        round_.server.step((flipped(sent[0]),))


@every_protocol
def test_an_answer_that_the_key_holder_did_not_sign(protocol):
    round_ = make(protocol)
    answer = round_.answer(round_.until_question())
    with pytest.raises(secagg.RoundFailedError, match=r"opened nothing .*not signed by the pinned key holder"):
        round_.result(flipped(answer))
    round_ = make(protocol)
    answer = round_.answer(round_.until_question())
    round_.server, _ = round_.server.step((flipped(answer), answer))  # a forged copy beside it does no harm
    assert close(round_.server.result, round_.vectors)


@every_protocol
@pytest.mark.parametrize("counted", [(0, 1, 2, 3, 5), (0, 1, 2, 5)])
def test_an_answer_that_counts_clients_nobody_asked_about(protocol, counted):
    round_ = make(protocol)
    question = round_.question(round_.uploads(round_.announced())[:4])
    lie = wire.pack_answer(
        counted,
        round_.plan.layout.zeros(),
        layout=round_.plan.layout,
        num_clients=len(NAMES),
        request=question.payload,
        session=round_.server._gathered.session,
        identity=round_.cohort.key_holder,
    )
    with pytest.raises(secagg.RoundFailedError, match=r"opened nothing .*counts clients that were not asked about"):
        round_.result(replace(round_.answer(question), payload=lie))


def test_a_dropped_answer_ends_the_round():
    round_ = make()
    recorder = secagg.Recorder(drop={"open": {KEY_HOLDER}})
    with pytest.raises(secagg.RoundFailedError, match="opened nothing; start another attempt"):
        secagg.drive(round_.server, round_.clients, recorder, key_holder=round_.key_holder)


def test_a_dropped_announcement_ends_the_round():
    round_ = make()
    recorder = secagg.Recorder(drop={ANNOUNCE: {KEY_HOLDER}})
    with pytest.raises(secagg.RoundFailedError, match="announced no key"):
        secagg.drive(round_.server, round_.clients, recorder, key_holder=round_.key_holder)


# --- secrets ----------------------------------------------------------------------------------------------------------


@every_protocol
def test_secrets_are_unreachable_once_used(protocol):
    drawn: list[bytes] = []
    round_ = make(protocol)
    entropy = round_.clients[ME]._state.entropy

    def spied(count):
        drawn.append(entropy(count))
        return drawn[-1]

    waiting = replace(round_.clients[ME]._state, entropy=spied)
    contribution = waiting.contribution.residues[0].tobytes()
    round_.clients[ME]._state = waiting
    del waiting
    assert any(contribution in blob for blob in reachable(round_.clients[ME]))
    question = round_.until_question()
    secret = round_.key_holder.memory.open[0].secret
    round_.answer(question)
    gc.collect()
    assert drawn
    for secrets, party in ((drawn, round_.clients[ME]), ([secret], round_.key_holder)):
        held = reachable(party)
        assert not any(piece in blob for piece in secrets for blob in held)
    assert not any(contribution in blob for blob in reachable(round_.clients[ME]))
    sent = b"".join(envelope.payload for envelope in round_.transcript)
    assert not any(piece in sent for piece in (*drawn, secret))


@every_protocol
def test_no_secret_in_reprs(protocol):
    round_ = make(protocol)
    round_.announced()
    secret = round_.key_holder.memory.open[0].secret
    texts = [repr(round_.key_holder), repr(round_.key_holder.memory), repr(round_.cohort.key_holder)]
    texts.append(repr(round_.clients[ME]) + repr(round_.clients[ME]._state))
    for piece in (secret, round_.cohort.key_holder.private, round_.cohort.identities[ME].private):
        assert not any(repr(piece)[2:-1] in text or piece.hex() in text for text in texts)


@every_protocol
def test_the_server_alone_reads_nothing(protocol):
    """Whatever the transcript holds before the answer, each upload looks alike to whoever lacks the round's key."""
    round_ = make(protocol, dim=600)
    round_.until_question()
    scheme = protocol.scheme(round_.plan)
    vectors = np.stack(list(round_.vectors.values()))
    for envelope in round_.transcript:
        raw = np.frombuffer(envelope.payload[: scheme.body_bytes], dtype=np.uint8).astype(float)
        if envelope.phase != "upload" or envelope.sender == SERVER:
            continue
        start = raw[: 600 * (len(raw) // 600)].reshape(600, -1).mean(axis=1)
        assert np.abs([np.corrcoef(start, vector)[0, 1] for vector in vectors]).max() < 0.25
    blobs = reachable(round_.server)
    secret = round_.key_holder.memory.open[0].secret
    assert not any(secret in blob for blob in blobs)


def test_a_clients_material_opens_no_peers_upload():
    """NVFlare gives every client the secret key; here a client holds public keys and its own seed only."""
    round_ = make()
    requests = round_.announced()
    uploads = {e.sender: e.payload for e in round_.uploads(requests)}
    scheme = round_.protocol.scheme(round_.plan)
    session = secagg.one_message_wire.session_id(round_.plan.digest(), requests[0].payload)
    private, model = round_.cohort.identities[ME].private, round_.plan.manifest.model_digest(ME)
    bindings = [secagg.scheme.Binding(session=session, name=name, model=model) for name in NAMES]
    capsules = b"".join(uploads[n][scheme.body_bytes : -64] for n in NAMES)
    assert scheme.open(private, capsules, senders=bindings).senders == ()
    opened = scheme.open(round_.key_holder.memory.open[0].secret, capsules, senders=bindings)
    assert opened.senders == tuple(range(6))
    swapped = [bindings[1], bindings[0], *bindings[2:]]  # a seed opens for its own sender only
    assert scheme.open(round_.key_holder.memory.open[0].secret, capsules, senders=swapped).senders == (2, 3, 4, 5)


def test_a_sealed_seed_that_cannot_be_opened_costs_its_sender_only():
    round_ = make()
    requests = round_.announced()
    uploads = round_.uploads(requests)
    session = secagg.one_message_wire.session_id(round_.plan.digest(), requests[0].payload)
    scheme = round_.protocol.scheme(round_.plan)
    for position, capsule in ((2, bytes(80)), (4, b"\x09" + bytes(79))):  # a point of low order, and garbage
        name = f"client-{position}"
        hidden = secagg.scheme.Hidden(body=uploads[position].payload[: scheme.body_bytes], capsule=capsule)
        signed = secagg.one_message_wire.state(
            hidden,
            session=session,
            name=name,
            model=round_.plan.manifest.model_digest(name),
            identity=round_.cohort.identities[name],
        )
        uploads[position] = replace(uploads[position], payload=hidden.body + capsule + signed.signature)
    result = round_.result(round_.answer(round_.question(uploads)))
    assert result.survivors == ("client-0", "client-1", "client-3", "client-5")
    assert close(result, round_.vectors)
    assert "open: client-2: its sealed seed cannot be opened" in round_.server.rejected


def test_helper_masks_are_uniform_and_depend_on_session_and_seed():
    layout = make(dim=4000).plan.layout
    streams = []
    for session, seed in ((bytes(32), bytes(32)), (bytes(31) + b"1", bytes(32)), (bytes(32), b"1" * 32)):
        mask = layout.zeros()
        Masker(layout, session=session).add(mask, key=seed, purpose=secagg.masks.HELPER_MASK)
        layout.reduce(mask)
        streams.append(mask[0].astype(float) / 2 ** layout.segments[0].num_bits)
    for one, two in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(streams[one], streams[two])[0, 1]) < 0.07
    assert abs(np.mean(streams) - 0.5) < 0.02
