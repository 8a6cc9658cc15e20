import secagg
from secagg.helper import _sealing_key
from secagg.scheme import Binding
from tests.contracts.secure_sum import SecureSumContract


class TestHelperSum(SecureSumContract):
    def make(self, codec):
        return secagg.HelperSum(codec=codec)


def test_a_capsules_key_is_bound_to_both_public_keys_session_sender_and_model():
    def key(public=b"p" * 32, point=b"q" * 32, session=b"s" * 32, name="me", model=b"m" * 32):
        return _sealing_key(
            bytes(32), public=public, point=point, binding=Binding(session=session, name=name, model=model)
        )

    other = b"o" * 32
    changed = (key(public=other), key(point=other), key(session=other), key(name="you"), key(model=other))
    assert len({key(), *changed}) == 6
