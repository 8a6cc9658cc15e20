import pytest

import secagg
from secagg.signing import Signer, opened, signed_message

IDENTITY = secagg.Identity.from_private(bytes(range(32)))
SIGNED = Signer(name="a", identity=IDENTITY).signed("upload", context=b"session", body=b"body")


def test_a_signature_covers_phase_context_name_and_body():
    same = {"context": b"c", "name": "a", "body": b"b"}
    messages = {
        signed_message("upload", **same),
        signed_message("share", **same),
        *(signed_message("upload", **{**same, key: value}) for key, value in (("context", b"d"), ("body", b"c"))),
        signed_message("upload", **{**same, "name": "b"}),
    }
    assert len(messages) == 5


def test_what_was_signed_opens():
    assert opened("upload", context=b"session", name="a", public=IDENTITY.public, payload=SIGNED) == b"body"


@pytest.mark.parametrize(
    "lie",
    [
        {"phase": "share"},
        {"context": b"other session"},
        {"name": "b"},
        {"public": bytes(32)},
        {"payload": SIGNED[1:]},
        {"payload": b"x" + SIGNED},
        {"payload": b""},
    ],
)
def test_anything_else_does_not(lie):
    honest = {"phase": "upload", "context": b"session", "name": "a", "public": IDENTITY.public, "payload": SIGNED}
    arguments = {**honest, **lie}
    with pytest.raises(secagg.WireError, match="not signed by its identity"):
        opened(arguments.pop("phase"), **arguments)


def test_without_an_identity_nothing_is_added_or_taken_off():
    body = Signer(name="a", identity=None).signed("upload", context=b"session", body=b"body")
    assert body == b"body"
    assert opened("upload", context=b"session", name="a", public=None, payload=body) == b"body"
