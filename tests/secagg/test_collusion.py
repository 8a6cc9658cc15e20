"""The server pools everything with corrupt clients: within the assumed number they open nobody, above it they do."""

import numpy as np
import pytest

import secagg
from secagg import masked_messages as wire
from secagg.crypto import Agreement, commit, pair_key, x25519_public
from secagg.masks import PAIR_MASK, SELF_MASK, Masker
from secagg.recovery import reconstruct
from secagg.shamir import SHARE_BYTES
from secagg.signing import Signer
from tests.secagg.rounds import close, make_round

NAMES = tuple(f"c{i:02}" for i in range(20))


def pooled(round_, corrupt):
    """Runs the round; returns the seed shares of all and the key shares of the corrupt: {owner: {point: share}}."""
    requests = round_.requests("unmask")
    states = {round_.plan.position(name): session._state for name, session in round_.clients.items()}
    near = {position: state.neighbours for position, state in states.items()}
    seeds, keys = {}, {}
    for answer in round_.answers(requests):
        holder = round_.plan.position(answer.sender)
        shares = wire.parse_shares(answer.payload[:-64], count=len(near[holder]))
        for owner, (kind, share) in zip(near[holder], shares, strict=True):
            assert kind == wire.SEED_SHARE
            seeds.setdefault(owner, {})[near[owner].index(holder) + 1] = share
    for holder in corrupt:
        for owner, pair in states[holder].shares.items():
            keys.setdefault(owner, {})[near[owner].index(holder) + 1] = pair[SHARE_BYTES:]
    return near, seeds, keys


def opened(round_, owner, near, seeds, keys):
    """What the pool does with one client's upload once it has both secrets."""
    plan, session = round_.plan, round_.session()
    roster = wire.Roster.parse(
        round_.transcript.between(sender="server", phase="share")[0].payload, num_clients=20, signature_bytes=64
    )
    advert = roster.adverts[owner]
    seed = reconstruct(seeds[owner], plan.graph, name="x", public=commit, expected=advert.commitment)
    key = reconstruct(keys.get(owner, {}), plan.graph, name="x", public=x25519_public, expected=advert.mask_key)
    (upload,) = round_.transcript.between(sender=plan.clients[owner], phase="upload")
    residues = plan.layout.unpack(upload.payload[:-64])
    masker, agreement = Masker(plan.layout, session=session), Agreement(key)
    masker.subtract(residues, key=seed, purpose=SELF_MASK)
    for other in near[owner]:
        undo = masker.subtract if owner < other else masker.add
        shared = agreement.with_public(roster.adverts[other].mask_key)
        first, second = plan.clients[min(owner, other)], plan.clients[max(owner, other)]
        undo(residues, key=pair_key(shared, session=session, first=first, second=second), purpose=PAIR_MASK)
    plan.layout.reduce(residues)
    return plan.codec.decode(plan.codec.centred(residues[0], layout=plan.layout), total_weight=1)


@pytest.mark.parametrize("seed", range(3))
def test_the_assumed_number_of_corrupt_clients_opens_nobody(seed):
    round_ = make_round(NAMES, seed=seed)
    corrupt = range(round_.plan.graph.colluders)
    near, seeds, keys = pooled(round_, corrupt)
    for owner in range(len(corrupt), 20):
        assert len(seeds[owner]) >= round_.plan.graph.threshold
        with pytest.raises(secagg.RoundFailedError, match="shares of 'x' arrived"):
            opened(round_, owner, near, seeds, keys)


def test_a_threshold_of_corrupt_neighbours_opens_a_client():
    """The limit of the model, and the proof that the test above could fail."""
    round_ = make_round(NAMES)
    target = 19
    corrupt = range(19)
    near, seeds, keys = pooled(round_, corrupt)
    vector = opened(round_, target, near, seeds, keys)
    assert np.abs(vector - round_.vectors[NAMES[target]]).max() < 1e-3


def test_corrupt_neighbours_cannot_tip_the_balance_to_two_majorities():
    """Each honest neighbour gives one kind; even with all corrupt ones giving both, no two thresholds are reached."""
    graph = make_round(NAMES).plan.graph
    for seed in range(20):
        round_ = make_round(NAMES, seed=seed)
        round_.requests("confirm")
        for session in round_.clients.values():
            corrupt = len(set(session._state.neighbours) & set(range(graph.colluders)))
            assert 2 * graph.threshold > graph.degree + corrupt


def test_everything_else_stays_a_plain_round():
    round_ = make_round(NAMES)
    assert close(round_.finish(()), round_.vectors)


def told(round_, name, phase, payload):
    """Steps one client with a request made up by the server."""
    request = secagg.Envelope(sender=secagg.SERVER, recipient=name, phase=phase, payload=payload)
    round_.clients[name], _ = round_.clients[name].step((request,))


def test_a_mirrored_key_removes_no_mask(monkeypatch):
    """A corrupt client advertises an honest one's key with the top bit set, which X25519 ignores: other bytes, same
    secret. On the other side of a client it would take that honest client's mask off the upload."""
    round_ = make_round(NAMES[:5])
    adverts = {
        round_.plan.position(e.sender): wire.Advert.parse(e.payload, signature_bytes=64) for e in round_.answers(())
    }
    honest, victim, streams = adverts[4].mask_key, NAMES[2], []
    mirrored = honest[:31] + bytes([honest[31] | 0x80])
    agreement = Agreement(round_.clients[victim]._state.mask_private)
    assert agreement.with_public(mirrored) == agreement.with_public(honest)
    body = mirrored + adverts[0].share_key + adverts[0].commitment
    signer = Signer(name=NAMES[0], identity=round_.cohort.identities[NAMES[0]])
    signed = signer.signed("advertise", context=round_.plan.digest(), body=body)
    adverts[0] = wire.Advert.parse(signed, signature_bytes=64)
    told(round_, victim, "share", wire.Roster(adverts=adverts).to_bytes(num_clients=5))
    applied = Masker._apply
    monkeypatch.setattr(
        Masker, "_apply", lambda self, how, array, key: (streams.append(key), applied(self, how, array, key))
    )
    told(round_, victim, "upload", wire.pack_set(tuple(range(5)), num_clients=5) + bytes(4 * wire.SEALED_BYTES))
    assert len(set(streams)) == len(streams) == 5
