import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import masked_messages as wire
from secagg.errors import WireError


@given(st.integers(1, 70), st.data())
def test_sets_round_trip(num_clients, data):
    chosen = sorted(data.draw(st.sets(st.integers(0, num_clients - 1))))
    packed = wire.pack_set(chosen, num_clients=num_clients)
    assert wire.parse_set(packed, num_clients=num_clients) == tuple(chosen)
    assert len(packed) == wire.set_bytes(num_clients)


@given(st.integers(1, 20), st.data())
def test_rosters_and_signatures_round_trip(num_clients, data):
    chosen = data.draw(st.sets(st.integers(0, num_clients - 1)))
    adverts = {
        p: wire.Advert(*(data.draw(st.binary(min_size=s, max_size=s)) for s in (32, 32, 32, 64))) for p in chosen
    }
    roster = wire.Roster(adverts=adverts)
    raw = roster.to_bytes(num_clients=num_clients)
    assert wire.Roster.parse(raw, num_clients=num_clients, signature_bytes=64) == roster
    signatures = {p: a.signature for p, a in adverts.items()}
    raw = wire.pack_signatures(signatures, num_clients=num_clients)
    assert wire.parse_signatures(raw, num_clients=num_clients) == signatures


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=33, max_size=33))))
def test_shares_round_trip(shares):
    shares = [*shares, (wire.MISSING, bytes(33))]
    assert wire.parse_shares(wire.pack_shares(shares), count=len(shares)) == shares


@given(st.binary(max_size=400))
def test_garbage_raises_quickly_or_parses_to_something_bounded(data):
    for parse in (
        lambda: wire.Roster.parse(data, num_clients=9, signature_bytes=64),
        lambda: wire.parse_signatures(data, num_clients=9),
        lambda: wire.parse_shares(data, count=3),
        lambda: wire.parse_set(data, num_clients=9),
        lambda: wire.Advert.parse(data, signature_bytes=64),
    ):
        try:
            parse()
        except WireError:
            continue


@pytest.mark.parametrize("bad", [b"\x03", b"\x00"])
def test_kinds_of_shares(bad):
    with pytest.raises(WireError, match="unknown kind"):
        wire.parse_shares(bad + b"\x01" * 33, count=1)
