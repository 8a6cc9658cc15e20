import numpy as np
import pytest

import secagg
from secagg.drive import MAX_TURNS
from tests.secagg.rounds import NAMES, close, make_round


def test_a_round_with_a_drop_is_recorded():
    round_ = make_round()
    recorder = secagg.Recorder(drop={"upload": {"client-5"}})
    result = secagg.drive(round_.server, round_.clients, recorder)
    assert close(result, round_.vectors)
    assert recorder.gone == {"client-5"}
    assert recorder.transcript.between(sender="client-5", phase="upload") == ()
    assert recorder.transcript.between(recipient="client-5", phase="confirm") == ()
    assert len(recorder.transcript.between(sender="client-5")) == 2


def test_sessions_of_the_caller_are_not_replaced():
    round_ = make_round()
    before = dict(round_.clients)
    secagg.drive(round_.server, round_.clients, secagg.Recorder())
    assert round_.clients == before


def test_memories_are_stored_before_messages_leave():
    round_, log = make_round(), []

    def exchange(envelopes):
        log.extend(("sent", e.sender, e.phase) for e in envelopes if e.sender != secagg.SERVER)
        return envelopes

    def remember(name, memory):
        log.append(("kept", name, memory.uploads))

    secagg.drive(round_.server, round_.clients, exchange, remember=remember)
    upload = log.index(("sent", "client-0", "upload"))
    assert any(kind == "kept" and name == "client-0" and what for kind, name, what in log[:upload])


def test_a_refusal_is_named_when_the_round_fails():
    round_ = make_round()

    def lies(envelopes):
        return tuple(
            secagg.Envelope(sender=e.sender, recipient=e.recipient, phase=e.phase, payload=e.payload[:-1])
            if e.sender == secagg.SERVER and e.phase == "share"
            else e
            for e in envelopes
        )

    with pytest.raises(secagg.RoundFailedError, match=r"only 0 clients shared.*refused by client-0: roster"):
        secagg.drive(round_.server, round_.clients, lies)


def test_a_server_that_never_finishes(monkeypatch):
    class Talkative:
        result = None

        def step(self, inbox):
            return self, (secagg.Envelope(sender="server", recipient="nobody", phase="x", payload=b""),)

    with pytest.raises(secagg.RoundFailedError, match=f"after {MAX_TURNS} turns"):
        secagg.drive(Talkative(), {}, secagg.Recorder())


def test_clients_that_are_done_are_not_stepped_again():
    protocol = secagg.PlainSum()
    plan = protocol.plan(clients=NAMES, dim=2)

    class Slow:
        """A server that needs two turns."""

        result = None

        def __init__(self, server, turns):
            self.server, self.turns, self.inbox = server, turns, ()

        def step(self, inbox):
            if self.turns:
                self.inbox += inbox
                self.turns -= 1
                return self, ()
            return self.server.step(self.inbox)

    round_ = make_round(dim=2)
    clients = {}
    for name, vector in round_.vectors.items():
        contribution = plan.encode(name, vector, rng=np.random.default_rng(0))
        clients[name] = protocol.client(plan, member=secagg.Member(name=name), contribution=contribution)
    assert secagg.drive(Slow(protocol.server(plan), 2), clients, secagg.Recorder()).survivors == NAMES
