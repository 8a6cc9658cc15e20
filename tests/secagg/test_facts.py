"""What other systems were seen to get wrong: each of these we refuse or survive."""

from pathlib import Path

import numpy as np
import pytest

import secagg
from secagg.codec import FixedPoint
from secagg.crypto import KEY_BYTES
from secagg.masks import PAIR_MASK, Masker
from tests.secagg.rounds import NAMES, close, make_round

SOURCE = Path(secagg.__file__).parent


def simulated(vectors, protocol=None, **arguments):
    return secagg.simulate(protocol or secagg.MaskedSum(), vectors, seed=1, **arguments)


def some(count, *, dim=8, value=None):
    rng = np.random.default_rng(0)
    return {f"c{i:03}": rng.uniform(-1, 1, dim) if value is None else np.full(dim, value) for i in range(count)}


def test_seeds_are_not_folded_into_a_small_space():
    """Flower: a pair seed of 32 bits; Flamingo: 16. Here every bit of a 256-bit key matters, also the last."""
    layout = FixedPoint(clip=1.0).layout(dim=64, clients=1, summed_weights=False)
    streams = set()
    for bit in range(8 * KEY_BYTES):
        target = layout.zeros()
        Masker(layout, session=b"s").add(target, key=(1 << bit).to_bytes(KEY_BYTES, "big"), purpose=PAIR_MASK)
        streams.add(target[0].tobytes())
    assert len(streams) == 8 * KEY_BYTES


def test_the_top_residue_occurs():
    """Flower: randint(0, m-1) never yields m-1."""
    layout = FixedPoint(clip=1.0, bits=3).layout(dim=4000, clients=1, summed_weights=False)
    target = layout.zeros()
    Masker(layout, session=b"s").add(target, key=bytes(32), purpose=PAIR_MASK)
    layout.reduce(target)
    assert np.bincount(target[0], minlength=8).min() > 400


@pytest.mark.parametrize("malicious", [True, False])
def test_active_and_dead_at_once_cannot_even_be_said(malicious):
    """Flower: a node listed as active and dead gives both shares. Here one set decides, and one kind leaves."""
    round_ = make_round(malicious=malicious)
    requests = round_.requests("unmask")
    answers = round_.answers(requests)
    for answer in answers:
        body = answer.payload[:-64] if malicious else answer.payload
        assert {body[i] for i in range(0, len(body), 34)} == {1}
    for name in NAMES:
        with pytest.raises(secagg.SessionSpentError):
            round_.clients[name].step(tuple(e for e in requests if e.recipient == name))


@pytest.mark.parametrize("phase", ["advertise", "share"])
def test_a_drop_in_the_setup_does_not_kill_the_round(phase):
    """Flower: KeyError in every survivor."""
    vectors = some(12)
    result = simulated(vectors, drop={phase: {"c003"}})
    assert close(result, vectors)
    assert "c003" not in result.survivors


@pytest.mark.parametrize("count", [5, 6, 7, 8, 21, 22, 33, 34])
def test_even_and_odd_degrees(count):
    """Flower: an even number of shares below N is an IndexError on all clients."""
    vectors = some(count)
    for malicious in (True, False):
        assert close(simulated(vectors, secagg.MaskedSum(malicious_server=malicious)), vectors)


def test_three_hundred_extreme_values_do_not_overflow():
    """Flower: N = 300 overflows silently."""
    result = simulated(some(300, dim=3, value=1.0), secagg.MaskedSum(malicious_server=False))
    assert result.mean.tolist() == [1.0] * 3
    assert result.integers.tolist() == [300 * 32767] * 3


def test_a_weight_above_the_maximum_is_refused():
    """Flower: weight 5000 with a maximum of 1000 gives a wrong sum."""
    protocol = secagg.MaskedSum(codec=FixedPoint(clip=1.0, max_weight=1000))
    with pytest.raises(secagg.CodecError, match="1…1000"):
        simulated(some(6), protocol, weights={**dict.fromkeys(some(6), 1), "c001": 5000})


def test_zero_weights_are_refused_not_nan():
    for protocol in (secagg.MaskedSum(), secagg.PlainSum()):
        with pytest.raises(secagg.CodecError, match="weight 0"):
            simulated(some(6), protocol, weights=dict.fromkeys(some(6), 0))


def test_values_beyond_the_clip_are_refused():
    with pytest.raises(secagg.CodecError, match="raise the clip"):
        simulated({**some(6), "c001": np.full(8, 1.5)})


def test_weight_one_loses_no_precision():
    """Flower: weight 1 is 100 times less precise than weight 100."""
    vectors = some(6)
    exact = np.mean(list(vectors.values()), axis=0)
    errors = [
        np.abs(simulated(vectors, weights=dict.fromkeys(vectors, weight)).mean - exact).max() for weight in (1, 100)
    ]
    assert max(errors) <= 1 / 32767


def test_counts_do_not_travel_in_clear():
    """Flower: num_examples are sent in the clear. Here the weight is masked like everything else."""
    codec = FixedPoint(clip=1.0, max_weight=1 << 20)
    secret = 0xABCDE
    uploads = []
    for attempt in range(2):
        round_ = make_round(codec=codec, summed_weights=True, attempt=attempt)
        plan = round_.plan
        contribution = plan.encode("client-1", np.zeros(12), weight=secret, rng=np.random.default_rng(0))
        member = secagg.Member(
            name="client-1", identity=round_.cohort.identities["client-1"], directory=round_.cohort.directory
        )
        round_.clients["client-1"] = secagg.MaskedSum(codec=codec).client(
            plan, member=member, contribution=contribution
        )
        result = round_.finish(())
        assert result.total_weight == secret + 7
        (upload,) = round_.transcript.between(sender="client-1", phase="upload")
        uploads.append(plan.layout.unpack(upload.payload[:-64])[1][0])
    assert secret not in uploads
    assert uploads[0] != uploads[1]


@pytest.mark.parametrize(("bits", "limit"), [(16, 0.75), (20, 0.88)])
def test_a_client_uploads_less_than_plain_floats(bits, limit):
    """Flower: int64 on the wire, twice fp32. All messages of the round counted, under a malicious plan."""
    names = tuple(f"client-{i:02}" for i in range(100))
    codec = FixedPoint(clip=1.0, bits=bits)
    cohort = secagg.Cohort.generate(names, secagg.seeded_entropy(b"x"))
    protocol = secagg.MaskedSum(codec=codec)
    plan = protocol.plan(clients=names, dim=100_000, directory=cohort.directory)
    near = plan.graph.degree
    upload = plan.layout.packed_bytes + 64
    others = (96 + 64) + (82 * near + 64) + (2 * 13 + 64) + (34 * near + 64) + 5 * 60
    assert upload + others <= limit * 4 * 100_000


def test_no_pickle_no_weak_generator_and_no_secret_in_a_context():
    """FedML: a pickled context with a secret key; np.random masks. APPFL: float masks from N(0, 1)."""
    for path in SOURCE.glob("*.py"):
        text = path.read_text()
        assert "pickle" not in text, path
        assert "np.random." not in text.replace("np.random.Generator", "").replace("np.random.default_rng", ""), path
        assert "import random" not in text or path.name == "recovery.py", path  # it only orders share subsets


def test_no_secret_is_shared_by_all_clients():
    """APPFL, NVFlare: one secret for everybody. Here any two clients' keys and seeds differ."""
    round_ = make_round()
    round_.answers(())
    states = [session._state for session in round_.clients.values()]
    for field in ("mask_private", "share_private", "seed"):
        assert len({getattr(state, field) for state in states}) == len(NAMES)


def test_dropouts_are_tolerated():
    """FedML LightSecAgg, APPFL: none are."""
    vectors = some(40)
    drop = {"upload": {"c001", "c017"}, "unmask": {"c020"}, "share": {"c030"}}
    assert close(simulated(vectors, drop=drop), vectors)


def test_signatures_and_tags_are_verified():
    """Flamingo: signatures and the GCM tag are never verified. See also test_client and test_server."""
    round_ = make_round()
    requests = round_.requests("upload")
    (mine,) = (e for e in requests if e.recipient == "client-2")
    broken = bytearray(mine.payload)
    broken[10] ^= 1
    round_.clients["client-2"], _ = round_.clients["client-2"].step(
        (secagg.Envelope(sender="server", recipient="client-2", phase="upload", payload=bytes(broken)),)
    )
    assert len(round_.clients["client-2"]._state.shares) == round_.plan.graph.degree - 1


def test_secrets_do_not_stay_after_the_round():
    """Flower: keys and seeds stay in the client's state. See test_client for the search."""
    round_ = make_round()
    round_.finish(())
    assert all(session.state == "Done" and not hasattr(session._state, "shares") for session in round_.clients.values())
