"""Every lie that a client can tell the server, and every message that arrives late, twice or broken."""

import time
from dataclasses import replace

import numpy as np
import pytest

import secagg
from secagg import masked_messages as wire
from secagg.signing import Signer
from tests.secagg.rounds import ALL_PHASES, NAMES, close, for_client, make_round, swapped

LIAR = "client-4"


def resigned(round_, phase, body, *, name=LIAR, context=None):
    """A message with a valid signature of its sender on another body."""
    signer = Signer(name=name, identity=round_.cohort.identities[name] if round_.plan.graph.malicious_server else None)
    return signer.signed(phase, context=context or round_.session(), body=body)


def answers_with_lie(round_, phase, change):
    """Runs up to the clients' messages of `phase` and lets `change` rewrite the liar's body."""
    requests = round_.requests(phase) if phase != "advertise" else ()
    sent = round_.answers(requests)
    (mine,) = (e for e in sent if e.sender == LIAR)
    signed = 64 if round_.plan.graph.malicious_server else 0
    body = mine.payload[: len(mine.payload) - signed]
    context = round_.plan.digest() if phase == "advertise" else None
    lie = replace(mine, payload=resigned(round_, phase, change(body), context=context))
    return swapped(sent, lie)


def finish(round_, sent):
    round_.server, requests = round_.server.step(sent)
    return round_.finish(requests)


@pytest.mark.parametrize("malicious", [True, False])
@pytest.mark.parametrize("phase", ALL_PHASES)
def test_a_message_of_the_wrong_size_drops_its_sender(phase, malicious):
    if phase == "confirm" and not malicious:
        return
    round_ = make_round(malicious=malicious)
    result = finish(round_, answers_with_lie(round_, phase, lambda body: body[:-1]))
    assert close(result, round_.vectors)
    assert (LIAR in result.survivors) == (phase in ("confirm", "unmask"))
    assert any(LIAR in line for line in round_.server.rejected)


@pytest.mark.parametrize("phase", ALL_PHASES)
def test_a_forged_signature_drops_its_sender(phase):
    round_ = make_round()
    sent = round_.answers(round_.requests(phase) if phase != "advertise" else ())
    (mine,) = (e for e in sent if e.sender == LIAR)
    result = finish(round_, swapped(sent, replace(mine, payload=mine.payload[:-64] + bytes(64))))
    assert close(result, round_.vectors)
    assert (LIAR in result.survivors) == (phase in ("confirm", "unmask"))


@pytest.mark.parametrize("phase", ALL_PHASES)
def test_a_forged_copy_beside_the_true_message_does_no_harm(phase):
    round_ = make_round()
    sent = round_.answers(round_.requests(phase) if phase != "advertise" else ())
    (mine,) = (e for e in sent if e.sender == LIAR)
    copies = tuple(replace(mine, payload=bytes([i]) + mine.payload[1:]) for i in range(2))
    result = finish(round_, (*sent, *sent, *copies))
    assert LIAR in result.survivors
    assert close(result, round_.vectors)


def test_two_different_signed_messages_drop_their_sender():
    round_ = make_round()
    sent = round_.answers(round_.requests("upload"))
    (mine,) = (e for e in sent if e.sender == LIAR)
    other = replace(mine, payload=resigned(round_, "upload", bytes(len(mine.payload) - 64)))
    result = finish(round_, (*sent, other))
    assert LIAR not in result.survivors
    assert close(result, round_.vectors)


def test_strangers_and_late_messages():
    round_ = make_round()
    early = round_.answers(())
    round_.server, requests = round_.server.step((*early, replace(early[0], sender="mallory")))
    assert any("mallory" in line for line in round_.server.rejected)
    round_.server, requests = round_.server.step((*round_.answers(requests), *early))
    assert sum("late" in line for line in round_.server.rejected) == 9
    assert close(round_.finish(requests), round_.vectors)


def test_uploads_of_clients_that_had_dropped_do_not_count():
    round_ = make_round()
    requests = round_.requests("share")
    round_.server, uploads = round_.server.step(tuple(e for e in round_.answers(requests) if e.sender != LIAR))
    ghost = secagg.Envelope(
        sender=LIAR,
        recipient="server",
        phase="upload",
        payload=resigned(round_, "upload", bytes(round_.plan.layout.packed_bytes)),
    )
    result = finish(round_, (*round_.answers(uploads), ghost))
    assert LIAR not in result.survivors
    assert close(result, round_.vectors)


def test_an_unmask_answer_of_a_dropped_client_does_not_count():
    round_ = make_round()
    uploads = round_.answers(round_.requests("upload"))
    round_.server, requests = round_.server.step(tuple(e for e in uploads if e.sender != LIAR))
    round_.server, requests = round_.server.step(round_.answers(requests))
    ghost = secagg.Envelope(
        sender=LIAR, recipient="server", phase="unmask", payload=resigned(round_, "unmask", bytes(34 * 4))
    )
    round_.server, _ = round_.server.step((*round_.answers(requests), ghost))
    assert close(round_.server.result, round_.vectors)
    assert any("dropped out" in line for line in round_.server.rejected)


def test_a_confirmation_of_a_dropped_client_is_not_relayed():
    """Its neighbours would refuse it, and the round would die."""
    round_ = make_round(NAMES[:5])
    uploads = round_.answers(round_.requests("upload"))
    round_.server, requests = round_.server.step(tuple(e for e in uploads if e.sender != LIAR))
    sent = round_.answers(requests)
    body = sent[0].payload[:-64]
    ghost = secagg.Envelope(sender=LIAR, recipient="server", phase="confirm", payload=resigned(round_, "confirm", body))
    round_.server, requests = round_.server.step((*sent, ghost))
    assert close(round_.finish(requests), round_.vectors)


@pytest.mark.parametrize("malicious", [True, False])
def test_wrong_shares_are_noticed_and_survived(malicious):
    def lie(body):
        return b"".join(body[i : i + 1] + bytes(32) + b"\x07" for i in range(0, len(body), 34))

    round_ = make_round(malicious=malicious)
    result = finish(round_, answers_with_lie(round_, "unmask", lie))
    assert result.survivors == NAMES
    assert close(result, round_.vectors)


def test_shares_outside_the_field_are_noticed_and_survived():
    round_ = make_round()
    result = finish(
        round_,
        answers_with_lie(
            round_, "unmask", lambda body: b"".join(body[i : i + 1] + b"\xff" * 33 for i in range(0, len(body), 34))
        ),
    )
    assert close(result, round_.vectors)


def test_the_wrong_kind_of_share_is_not_used():
    round_ = make_round()
    result = finish(
        round_,
        answers_with_lie(
            round_, "unmask", lambda body: b"".join(b"\x02" + body[i + 1 : i + 34] for i in range(0, len(body), 34))
        ),
    )
    assert close(result, round_.vectors)


@pytest.mark.parametrize("lie", [b"\x03", b"\x00"])
def test_shares_of_unknown_kind_drop_the_answer(lie):
    round_ = make_round()
    result = finish(
        round_,
        answers_with_lie(
            round_, "unmask", lambda body: b"".join(lie + body[i + 1 : i + 34] for i in range(0, len(body), 34))
        ),
    )
    assert close(result, round_.vectors)
    assert any("unknown kind" in line for line in round_.server.rejected)


def test_a_wrong_commitment_fails_the_round_with_a_reason():
    round_ = make_round(malicious=False)
    with pytest.raises(secagg.RefusedError, match="omits or alters"):  # an honest client never sees its lie accepted
        finish(round_, answers_with_lie(round_, "advertise", lambda body: body[:64] + bytes(32)))
    round_ = make_round(malicious=False)
    state = round_.clients[LIAR]
    round_.clients[LIAR] = _Liar(state)
    with pytest.raises(secagg.RoundFailedError, match=f"no 2 shares of '{LIAR}' fit"):
        round_.finish(())


class _Liar:
    """An honest client but for the commitment, which belongs to no seed."""

    def __init__(self, session):
        self.session = session

    def __getattr__(self, name):
        return getattr(self.session, name)

    def step(self, inbox):
        session, sent = self.session.step(inbox)
        if session.state == "Advertised":
            body = session._state.own_body[:64] + bytes(32)
            session._state = replace(session._state, own_body=body)
            sent = (replace(sent[0], payload=body),)
        return _Liar(session), sent


@pytest.mark.parametrize("place", [0, 32])
@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31), bytes(31) + b"\x80"])
def test_invalid_keys_are_dropped_before_they_harm_the_neighbours(key, place):
    round_ = make_round(malicious=False)
    round_.clients[LIAR] = _Vanishing(round_.clients[LIAR])
    result = finish(round_, answers_with_lie(round_, "advertise", lambda body: body[:place] + key + body[place + 32 :]))
    assert LIAR not in result.survivors
    assert close(result, round_.vectors)


def test_a_repeated_key_is_dropped():
    round_ = make_round(malicious=False)
    round_.clients[LIAR] = _Vanishing(round_.clients[LIAR])
    result = finish(round_, answers_with_lie(round_, "advertise", lambda body: body[:32] + body[:32] + body[64:]))
    assert LIAR not in result.survivors


class _Vanishing:
    """Sends its first message and is never heard of again."""

    def __init__(self, session):
        self.session = session

    def step(self, inbox):
        if inbox:
            return self, ()
        self.session, sent = self.session.step(inbox)
        return self, sent


def test_replayed_and_foreign_messages_count_for_nothing():
    """client-4 sends its upload of an earlier attempt, or that of another client."""
    old = make_round(seed=1)
    old.finish(())
    (replayed,) = old.transcript.between(sender=LIAR, phase="upload")
    for lie in (replayed, replace(old.transcript.between(sender="client-3", phase="upload")[0], sender=LIAR)):
        round_ = make_round(seed=2, attempt=1)
        sent = round_.answers(round_.requests("upload"))
        (mine,) = (e for e in sent if e.sender == LIAR)
        result = finish(round_, swapped(sent, lie if lie.payload != mine.payload else mine))
        assert LIAR not in result.survivors
        assert close(result, round_.vectors)


def test_a_confirmation_of_other_sets_is_not_relayed():
    round_ = make_round()
    sent = answers_with_lie(round_, "confirm", lambda body: bytes([body[0], 0x7F]))
    round_.server, requests = round_.server.step(sent)
    for name in NAMES:
        signers = wire.parse_signatures(for_client(requests, name).payload, num_clients=8)
        assert 4 not in signers
    assert close(round_.finish(requests), round_.vectors)


@pytest.mark.parametrize("weight", [False, True])
def test_a_gross_lie_about_the_own_vector_is_rejected(weight):
    """A sum beyond what the survivors can reach gives it away; a lie that stays within, or wraps into it, does not."""
    names = NAMES
    codec = secagg.FixedPoint(clip=1.0, bits=8, max_weight=5 if weight else 1)
    protocol = secagg.MaskedSum(codec=codec, malicious_server=False)
    plan = protocol.plan(clients=names, dim=12, summed_weights=weight)
    clients = {}
    for name in names:
        encoded = plan.encode(name, np.full(12, 0.9), rng=np.random.default_rng(1))
        if name == LIAR:
            values = encoded.residues[0] if weight else np.full(12, 220, dtype=np.uint32)
            extra = (np.array([60], dtype=np.uint32),) if weight else ()
            encoded = secagg.Encoded(layout=plan.layout, residues=(values, *extra))
        clients[name] = protocol.client(plan, member=secagg.Member(name=name), contribution=encoded)
    with pytest.raises(secagg.RoundFailedError, match="lied"):
        secagg.drive(protocol.server(plan), clients, secagg.Recorder())


def test_the_norm_of_the_sum_is_bounded():
    for norm, allowed in ((2.0, True), (0.5, False)):
        round_ = make_round(max_norm=norm)
        if allowed:
            assert close(round_.finish(()), round_.vectors)
        else:
            biased = make_round(max_norm=norm)
            for name in NAMES:
                member = secagg.Member(
                    name=name, identity=biased.cohort.identities[name], directory=biased.cohort.directory
                )
                contribution = biased.plan.encode(name, np.full(12, 0.9), rng=np.random.default_rng(0))
                biased.clients[name] = secagg.MaskedSum().client(biased.plan, member=member, contribution=contribution)
            with pytest.raises(secagg.RoundFailedError, match="norm"):
                biased.finish(())


def test_a_flood_of_copies_costs_little():
    round_ = make_round()
    sent = round_.answers(())
    flood = tuple(replace(sent[0], payload=sent[0].payload[:-4] + i.to_bytes(4, "big")) for i in range(50_000))
    started = time.perf_counter()
    _, requests = round_.server.step((*sent, *flood))
    assert time.perf_counter() - started < 5
    assert len(requests) == len(NAMES)


def test_what_strangers_write_stays_on_one_line():
    round_ = make_round()
    sent = round_.answers(())
    round_.server, _ = round_.server.step((*sent, replace(sent[0], sender="a\nb", phase="x\ny")))
    assert round_.server.rejected == (r"'x\ny': 'a\nb': late, early or from a stranger",)


def test_a_spent_server_session():
    round_ = make_round()
    server = round_.server
    round_.finish(())
    for spent in (server, round_.server):
        with pytest.raises(secagg.SessionSpentError):
            spent.step(())
    assert server.result is None
    assert server.rejected == ()


def test_a_failed_phase_names_what_was_rejected():
    round_ = make_round()
    broken = tuple(replace(e, payload=b"x") for e in round_.answers(()))
    with pytest.raises(secagg.RoundFailedError, match=r"only 0 clients advertised, 3 needed.*advertise: client-0"):
        round_.server.step(broken)
