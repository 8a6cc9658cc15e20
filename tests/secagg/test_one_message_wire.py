from dataclasses import replace

import pytest

import secagg
from secagg import one_message_wire as wire
from secagg.scheme import Hidden

ME = secagg.Identity.from_private(bytes([7]) * 32)
HIDDEN = Hidden(body=b"body", capsule=b"capsule")
SIGNED = wire.state(HIDDEN, session=bytes(32), name="me", model=bytes(32), identity=ME)


def test_a_statement_covers_session_sender_model_body_and_capsule():
    said = {"session": bytes(32), "name": "me", "capsule": b"capsule", "public": ME.public}
    assert SIGNED.holds(**said)
    others = {
        "session": b"1" * 32,
        "name": "you",
        "capsule": b"another",
        "public": secagg.Identity.from_private(bytes(32)).public,
    }
    for field, value in others.items():
        assert not SIGNED.holds(**{**said, field: value}), field
    for changed in (replace(SIGNED, model=b"1" * 32), replace(SIGNED, body=b"1" * 32)):
        assert not changed.holds(**said)


def test_a_session_is_of_one_plan_and_one_announcement():
    sessions = {wire.session_id(plan, said) for plan in (bytes(32), b"1" * 32) for said in (b"one", b"two")}
    assert len(sessions) == 4


def test_an_upload_of_another_size_is_not_parsed():
    payload = HIDDEN.body + HIDDEN.capsule + SIGNED.signature
    assert wire.parse_upload(payload, body_bytes=4, capsule_bytes=7, model=bytes(32)) == (HIDDEN, SIGNED)
    for wrong in (payload[:-1], payload + b"\0", b""):
        with pytest.raises(secagg.WireError, match=r"upload of \d+ bytes, 75 expected"):
            wire.parse_upload(wrong, body_bytes=4, capsule_bytes=7, model=bytes(32))
