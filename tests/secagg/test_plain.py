import numpy as np
import pytest

import secagg
from tests.contracts.secure_sum import NAMES, SecureSumContract, some_vectors


class TestPlainSum(SecureSumContract):
    def make(self, codec):
        return secagg.PlainSum(codec=codec)


def a_round(*, summed=False, max_weight=None, min_cohort=1, weights=None):
    protocol = secagg.PlainSum(codec=secagg.FixedPoint(clip=1.0, max_weight=max_weight), min_cohort=min_cohort)
    plan = protocol.plan(clients=NAMES, dim=40, weights=weights, summed_weights=summed)
    return protocol, plan


def sessions(protocol, plan, vectors, *, weight=None, memory=None):
    rng = np.random.default_rng(0)
    return {
        name: protocol.client(
            plan,
            member=secagg.Member(name=name, memory=memory or secagg.ClientMemory()),
            contribution=plan.encode(name, vector, weight=weight, rng=rng),
        )
        for name, vector in vectors.items()
    }


@pytest.mark.parametrize("summed", [False, True])
def test_the_server_reads_each_contribution(summed):
    protocol, plan = a_round(summed=summed, max_weight=5 if summed else None)
    vectors, recorder = some_vectors(), secagg.Recorder()
    secagg.drive(protocol.server(plan), sessions(protocol, plan, vectors, weight=3 if summed else None), recorder)
    for name, vector in vectors.items():
        read = secagg.plain.read_contribution(recorder.transcript, plan, name)
        assert np.abs(read - vector).max() < (2 if summed else 1) * 1.01 / 32767


def test_a_contribution_that_was_never_sent():
    _, plan = a_round()
    with pytest.raises(secagg.WireError, match="no plain upload"):
        secagg.plain.read_contribution(secagg.Transcript(), plan, "client-0")


def test_public_weights():
    protocol, plan = a_round(weights=(1, 2, 3, 4, 5, 6, 7, 8))
    vectors = some_vectors()
    result = secagg.drive(protocol.server(plan), sessions(protocol, plan, vectors), secagg.Recorder())
    exact = sum(vectors[name] * (i + 1) for i, name in enumerate(NAMES)) / 36
    assert result.total_weight == 36
    assert np.abs(result.mean - exact).max() < 1e-3


def test_sessions_are_single_use():
    protocol, plan = a_round()
    client, server = sessions(protocol, plan, some_vectors())["client-0"], protocol.server(plan)
    after, sent = client.step(())
    assert after.done
    for spent in (client, after):
        with pytest.raises(secagg.SessionSpentError):
            spent.step(())
    done, _ = server.step(sent)
    for spent in (server, done):
        with pytest.raises(secagg.SessionSpentError):
            spent.step(sent)


def test_garbage_strangers_and_double_messages_count_for_nothing():
    protocol, plan = a_round()
    sent = [e for c in sessions(protocol, plan, some_vectors()).values() for e in c.step(())[1]]
    other = secagg.Layout(segments=(secagg.Segment(name="values", length=40, num_bits=9),))
    bad = [
        secagg.Envelope(sender="client-0", recipient="server", phase="upload", payload=sent[1].payload),
        secagg.Envelope(sender="mallory", recipient="server", phase="upload", payload=sent[1].payload),
    ]
    shape = secagg.Encoded(layout=other, residues=(np.zeros(40, dtype=np.uint32),)).to_bytes()
    sent[3] = secagg.Envelope(sender="client-3", recipient="server", phase="upload", payload=shape)
    server, _ = protocol.server(plan).step((*sent, *bad))
    assert set(NAMES) - set(server.result.survivors) == {"client-0", "client-3"}
    assert len(server.rejected) == 3


def test_min_cohort():
    protocol, plan = a_round(min_cohort=8)
    with pytest.raises(secagg.RoundFailedError, match="min_cohort = 8"):
        secagg.drive(
            protocol.server(plan),
            sessions(protocol, plan, some_vectors()),
            secagg.Recorder(drop={"upload": {"client-1"}}),
        )


def test_the_same_bytes_may_be_sent_again_and_others_may_not():
    protocol, plan = a_round()
    first, sent = sessions(protocol, plan, some_vectors())["client-0"].step(())
    again, resent = sessions(protocol, plan, some_vectors(), memory=first.memory)["client-0"].step(())
    assert sent == resent
    assert again.memory == first.memory
    other = sessions(protocol, plan, some_vectors(seed=4), memory=first.memory)["client-0"]
    with pytest.raises(secagg.RefusedError, match="already answered"):
        other.step(())


def test_a_contribution_of_another_layout_is_refused():
    protocol, plan = a_round()
    _, longer = secagg.PlainSum(), secagg.PlainSum().plan(clients=NAMES, dim=41)
    contribution = longer.encode("client-0", np.zeros(41), rng=np.random.default_rng(0))
    with pytest.raises(secagg.CodecError, match="another layout"):
        protocol.client(plan, member=secagg.Member(name="client-0"), contribution=contribution)
