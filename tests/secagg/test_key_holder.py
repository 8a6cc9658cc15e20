"""What the third party refuses: sums of few, second sums, unequal models, foreign sessions, plans it did not pin."""

from dataclasses import replace

import numpy as np
import pytest

import secagg
from secagg import one_message_wire as wire
from secagg.transitions import ONE_MESSAGE, THIRD_PARTY
from tests.secagg.one_message import KEY_HOLDER, NAMES, PROTOCOLS, SERVER, Envelope, close, flipped, make

every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.label)
FEW = tuple(NAMES[:1])


def asked(round_, names, uploads):
    """The question of a server that asks for the sum over `names`, from what they really sent."""
    scheme = round_.protocol.scheme(round_.plan)
    hidden, statements = [], {}
    for upload in uploads:
        if upload.sender in names:
            position = round_.plan.position(upload.sender)
            one, statement = wire.parse_upload(
                upload.payload,
                body_bytes=scheme.body_bytes,
                capsule_bytes=scheme.capsule_bytes,
                model=round_.plan.manifest.model_digest(upload.sender),
            )
            hidden.append(one)
            statements[position] = statement
    payload = wire.pack_request(statements, scheme.collect(hidden), num_clients=len(round_.plan.clients))
    return Envelope(sender=SERVER, recipient=KEY_HOLDER, phase="open", payload=payload)


@every_protocol
@pytest.mark.parametrize("count", [1, 2])
def test_a_sum_of_few_is_refused(protocol, count):
    round_ = make(protocol)
    uploads = round_.uploads(round_.announced())
    with pytest.raises(secagg.RefusedError, match=f"a sum of {count} clients would expose them, min_cohort = 3"):
        round_.key_holder.step((asked(round_, NAMES[:count], uploads),))


@every_protocol
def test_a_second_sum_of_the_same_round_is_refused(protocol):
    round_ = make(protocol)
    uploads = round_.uploads(round_.announced())
    announced, holder = round_.key_holder.memory, round_.key_holder
    round_.key_holder, _ = holder.step((asked(round_, NAMES, uploads),))
    fewer = asked(round_, NAMES[:5], uploads)
    for spent in (holder, round_.key_holder):
        with pytest.raises(secagg.SessionSpentError):
            spent.step((fewer,))
    identity, directory = round_.cohort.key_holder, round_.cohort.directory
    with pytest.raises(secagg.RefusedError, match="announced before; plan another attempt"):
        protocol.key_holder(round_.plan, identity=identity, directory=directory, memory=round_.key_holder.memory)
    stale = protocol.key_holder(round_.plan, identity=identity, directory=directory, memory=announced)
    stale.memory = round_.key_holder.memory
    with pytest.raises(secagg.RefusedError, match="answered before; a second sum of the same round would expose"):
        stale.step((fewer,))


@every_protocol
def test_a_restart_between_announcement_and_question_changes_nothing(protocol):
    round_ = make(protocol)
    question = round_.until_question()
    stored = secagg.HolderMemory.from_bytes(round_.key_holder.memory.to_bytes())
    round_.key_holder = protocol.key_holder(
        round_.plan, identity=round_.cohort.key_holder, directory=round_.cohort.directory, memory=stored
    )
    assert round_.key_holder.state == "Announced"
    assert close(round_.result(round_.answer(question)), round_.vectors)


@every_protocol
def test_unequal_models_are_refused(protocol):
    """Clients of two models sign two plans; whatever the server writes into its question, their sum stays shut."""
    one, two = (
        make(protocol, manifest=secagg.Manifest.whole_model(bytes([model]) * 32), noised=True) for model in (1, 2)
    )
    two.key_holder = one.key_holder
    requests = one.announced()
    for request in requests[3:]:
        with pytest.raises(secagg.RefusedError, match="the round another plan"):
            two.clients[request.recipient].step((request,))
    one.key_holder, uploads = one.key_holder, one.uploads(requests)
    question = asked(one, NAMES, uploads)
    statements, collected = wire.parse_request(question.payload, num_clients=6)
    lied = {
        p: replace(s, model=two.plan.manifest.model_digest(NAMES[p])) if p > 2 else s for p, s in statements.items()
    }
    payload = wire.pack_request(lied, collected, num_clients=6)
    with pytest.raises(secagg.RefusedError, match="'client-3' holds another model than the plan"):
        one.key_holder.step((replace(question, payload=payload),))


@every_protocol
def test_who_did_not_sign_this_session_is_not_added_up(protocol):
    round_, foreign = make(protocol), make(protocol, attempt=1)
    uploads = round_.uploads(round_.announced())
    others = foreign.uploads(foreign.announced())
    with pytest.raises(secagg.RefusedError, match="'client-4' did not sign this upload for this session"):
        round_.key_holder.step((asked(round_, NAMES, [*uploads[:4], *others[4:]]),))


@every_protocol
@pytest.mark.parametrize("change", [lambda p: p[:-1], lambda p: p + b"\0", lambda p: b"", lambda p: b"\xff" + p[1:]])
def test_malformed_questions(protocol, change):
    round_ = make(protocol)
    question = round_.until_question()
    with pytest.raises(secagg.RefusedError, match="the request is malformed"):
        round_.key_holder.step((replace(question, payload=change(question.payload)),))


@pytest.mark.parametrize("changes", [{"sender": "client-1"}, {"recipient": "client-1"}, {"phase": "announce"}])
def test_only_the_server_asks(changes):
    round_ = make()
    question = round_.until_question()
    with pytest.raises(secagg.RefusedError, match="not the server's request for this round's sum"):
        round_.key_holder.step((replace(question, **changes),))


def test_two_questions_at_once_and_a_question_too_early():
    round_ = make()
    question = round_.until_question()
    with pytest.raises(secagg.RefusedError, match="two different sums"):
        round_.key_holder.step((question, flipped(question)))
    with pytest.raises(secagg.RefusedError, match="spoke before a key was announced"):
        make().key_holder.step((question,))


def test_a_repeated_question_in_one_inbox_gets_one_answer():
    round_ = make()
    question = round_.until_question()
    _, sent = round_.key_holder.step((question, question))
    assert len(sent) == 1


@every_protocol
def test_an_answer_fits_its_question_only(protocol):
    """The server accepts the sum that it asked for, not one of the same session over other clients."""
    round_ = make(protocol)
    uploads = round_.uploads(round_.announced())
    fewer = asked(round_, NAMES[:5], uploads)
    round_.question(uploads)
    with pytest.raises(secagg.RoundFailedError, match="not signed by the pinned key holder for this request"):
        round_.result(round_.answer(fewer))


def test_it_waits_in_silence():
    round_ = make()
    round_.announced()
    round_.key_holder, sent = round_.key_holder.step(())
    assert (round_.key_holder.state, sent) == ("Announced", ())


def test_too_few_openable_seeds_use_the_key_up_and_give_nothing_away():
    round_ = make()
    requests = round_.announced()
    uploads = round_.uploads(requests)
    session = wire.session_id(round_.plan.digest(), requests[0].payload)
    scheme = round_.protocol.scheme(round_.plan)
    for position in range(4):
        name = NAMES[position]
        hidden = secagg.scheme.Hidden(body=uploads[position].payload[: scheme.body_bytes], capsule=b"\x09" + bytes(79))
        model, identity = round_.plan.manifest.model_digest(name), round_.cohort.identities[name]
        signed = wire.state(hidden, session=session, name=name, model=model, identity=identity)
        uploads[position] = replace(uploads[position], payload=hidden.body + hidden.capsule + signed.signature)
    answer = round_.answer(round_.question(uploads))
    assert round_.key_holder.memory.open == ()
    assert not np.frombuffer(answer.payload[:-64], dtype=np.uint8).any()
    with pytest.raises(secagg.RoundFailedError, match="only 0 clients were opened"):
        round_.result(answer)


def test_without_dp_two_rounds_that_differ_by_one_survivor_are_refused():
    first = make()
    first.finish()
    memory = first.key_holder.memory
    assert memory.last_survivors == (NAMES,)
    second = make(round=1, memory=memory)
    uploads = second.uploads(second.announced())
    with pytest.raises(secagg.RefusedError, match="differ from the last round's by 1, fewer than min_cohort"):
        second.key_holder.step((asked(second, NAMES[:5], uploads),))
    noised = make(round=1, memory=memory, noised=True)
    uploads = noised.uploads(noised.announced())
    assert noised.key_holder.step((asked(noised, NAMES[:5], uploads),))[0].done


def test_every_coordinate_needs_min_cohort_survivors():
    parts = {"all": bytes(32)}
    entries = {
        name: secagg.Entry(parts=("all",), covered=((0, 7),) if i < 4 else ((0, 3),)) for i, name in enumerate(NAMES)
    }
    round_ = make(manifest=secagg.Manifest(parts=parts, entries={}), noised=True)
    protocol = round_.protocol
    plan = replace(round_.plan, manifest=secagg.Manifest(parts=parts, entries=entries))
    clients = {}
    for name in NAMES:
        member = secagg.Member(
            name=name,
            identity=round_.cohort.identities[name],
            directory=round_.cohort.directory,
            received=plan.manifest.sent_to(name),
            noised=True,
        )
        vector = np.where(np.arange(7) < entries[name].covered[0][1], 0.5, 0.0)
        contribution = plan.encode(name, vector, rng=np.random.default_rng(0))
        clients[name] = protocol.client(plan, member=member, contribution=contribution)
    full = plan.encode("client-5", np.full(7, 0.5), rng=np.random.default_rng(0))
    member = replace(member, name="client-5")
    with pytest.raises(secagg.CodecError, match="coordinates that the manifest does not list"):
        protocol.client(plan, member=member, contribution=full)
    round_.plan, round_.clients = plan, clients
    round_.server = protocol.server(plan, directory=round_.cohort.directory)
    round_.key_holder = protocol.key_holder(plan, identity=round_.cohort.key_holder, directory=round_.cohort.directory)
    uploads = round_.uploads(round_.announced())
    with pytest.raises(secagg.RefusedError, match="fill a coordinate fewer than min_cohort = 3 times"):
        round_.key_holder.step((asked(round_, NAMES[2:], uploads),))


def test_plans_that_it_did_not_pin():
    round_ = make()
    other = secagg.Cohort.with_key_holder(NAMES)
    open_ = round_.protocol.key_holder
    own, directory = round_.cohort.key_holder, round_.cohort.directory
    with pytest.raises(secagg.RefusedError, match="another key directory, or another key holder"):
        open_(round_.plan, identity=own, directory=other.directory)
    with pytest.raises(secagg.RefusedError, match="another key directory, or another key holder"):
        open_(round_.plan, identity=own, directory=replace(other.directory, key_holder=own.public))
    with pytest.raises(secagg.RefusedError, match="another key directory, or another key holder"):
        open_(round_.plan, identity=other.key_holder, directory=directory)
    with pytest.raises(secagg.RefusedError, match="min_cohort = 3 is below this key holder's 4"):
        open_(round_.plan, identity=own, directory=directory, min_cohort=4)
    with pytest.raises(secagg.RefusedError, match="min_cohort = 1 is below this key holder's 2"):
        open_(replace(round_.plan, min_cohort=1), identity=own, directory=directory, min_cohort=1)
    strangers = replace(round_.plan, clients=(*NAMES[:5], "mallory"))
    with pytest.raises(secagg.RefusedError, match="'mallory' is not in the key directory"):
        open_(strangers, identity=own, directory=directory)


def test_the_tables_are_what_the_parties_do():
    round_, seen = make(), {}
    start = round_.key_holder.state
    requests = round_.announced()
    seen[start, ""] = ("announce", round_.key_holder.state)
    waiting = round_.clients[NAMES[0]].state
    uploads = round_.uploads(requests)
    assert dict(ONE_MESSAGE) == {(waiting, "upload"): ("upload", round_.clients[NAMES[0]].state)}
    answer = round_.answer(round_.question(uploads))
    seen["Announced", "open"] = (answer.phase, round_.key_holder.state)
    assert seen == dict(THIRD_PARTY)


def test_the_loop_stores_memories_before_messages_leave_and_names_who_refused():
    round_, events = make(), []

    def exchange(envelopes):
        events.extend(e.phase for e in envelopes if e.sender == KEY_HOLDER)
        return envelopes

    def keep(memory):
        events.append((len(memory.open), len(memory.answered)))

    secagg.drive(round_.server, round_.clients, exchange, key_holder=round_.key_holder, keep=keep)
    assert events == [(1, 0), "announce", (0, 1), "open"]
    again = make()
    again.key_holder.memory = again.key_holder.memory.with_open(again.plan.digest(), session=b"", secret=b"")
    with pytest.raises(secagg.RoundFailedError, match=r"announced no key .*by key-holder: a key for this round"):
        secagg.drive(again.server, again.clients, exchange, key_holder=again.key_holder)
