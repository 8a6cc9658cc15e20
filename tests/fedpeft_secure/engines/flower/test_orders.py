import dataclasses

import pytest

import secagg
from fedpeft_secure.engines.flower.orders import (
    DONE,
    STEP,
    Answer,
    Order,
    bundle,
    join_parts,
    order_digest,
    split_parts,
    unbundle,
)

SERVER, NODE, STRANGER = (secagg.Identity.generate() for _ in range(3))
DIRECTORY = secagg.KeyDirectory(members={"client-1": NODE.public, "client-2": STRANGER.public})
ORDER = Order(run="run", number=7, kind=STEP, recipient="client-1", body=b"body")


def test_an_order_comes_back_as_it_was_signed() -> None:
    assert Order.opened(ORDER.signed(SERVER), server_key=SERVER.public) == ORDER


@pytest.mark.parametrize("position", [4, 20, -70, -1])
def test_an_order_with_any_bit_changed_is_nobodys(position: int) -> None:
    data = bytearray(ORDER.signed(SERVER))
    data[position] ^= 1
    with pytest.raises(secagg.WireError, match="not that of the pinned key"):
        Order.opened(bytes(data), server_key=SERVER.public)


def test_an_order_of_another_server_is_nobodys() -> None:
    with pytest.raises(secagg.WireError, match="not that of the pinned key"):
        Order.opened(ORDER.signed(STRANGER), server_key=SERVER.public)


@pytest.mark.parametrize("data", [b"", b"FFO\x01", b"\0" * 64, b"x" * 1000])
def test_garbage_is_no_order(data: bytes) -> None:
    with pytest.raises(secagg.WireError):
        Order.opened(data, server_key=SERVER.public)


def test_what_the_server_signed_must_still_be_an_order() -> None:
    odd = dataclasses.replace(ORDER, kind="dance").signed(SERVER)
    with pytest.raises(secagg.WireError, match="'dance' is none of"):
        Order.opened(odd, server_key=SERVER.public)


def answer(order: bytes, *, sender: str = "client-1", kind: str = DONE) -> Answer:
    return Answer(order=order_digest(order), sender=sender, kind=kind, body=b"yes")


def test_an_answer_is_good_for_its_own_order_only() -> None:
    first, second = ORDER.signed(SERVER), dataclasses.replace(ORDER, number=8).signed(SERVER)
    data = answer(first).signed(NODE)
    assert Answer.opened(data, order=first, directory=DIRECTORY).body == b"yes"
    with pytest.raises(secagg.WireError, match="belongs to another order"):
        Answer.opened(data, order=second, directory=DIRECTORY)


def test_an_answer_in_anothers_name_is_not_accepted() -> None:
    order = ORDER.signed(SERVER)
    with pytest.raises(secagg.WireError, match="'client-1': the signature is not that of the pinned key"):
        Answer.opened(answer(order).signed(STRANGER), order=order, directory=DIRECTORY)


def test_an_unknown_node_gets_nothing() -> None:
    order = ORDER.signed(SERVER)
    for sender in ("client-9", "key-holder"):
        with pytest.raises(secagg.WireError, match="not in the key directory"):
            Answer.opened(answer(order, sender=sender).signed(NODE), order=order, directory=DIRECTORY)


def test_an_answer_is_a_yes_or_a_no() -> None:
    order = ORDER.signed(SERVER)
    with pytest.raises(secagg.WireError, match="'maybe' is unknown"):
        Answer.opened(answer(order, kind="maybe").signed(NODE), order=order, directory=DIRECTORY)


def test_bundles_and_parts_come_back() -> None:
    envelopes = tuple(
        secagg.Envelope(sender="server", recipient=name, phase="share", payload=name.encode()) for name in "ab"
    )
    assert unbundle(bundle(envelopes)) == envelopes
    assert unbundle(bundle(())) == ()
    assert split_parts(join_parts(b"terms", b"request")) == (b"terms", b"request")
    for broken in (b"", bundle(envelopes)[:-1], bundle(envelopes) + b"x"):
        with pytest.raises(secagg.WireError):
            unbundle(broken)


def test_bodies_stay_out_of_logs() -> None:
    assert "body" not in repr(ORDER)
    assert "yes" not in repr(answer(b""))
