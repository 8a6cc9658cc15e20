import numpy as np
import pytest

import secagg
from fedpeft_secure.clients.trainer import Trained
from fedpeft_secure.engines.training_orders import (
    DONE,
    TrainingOrder,
    TrainingReply,
    pack_trained,
    unpack_trained,
)

ORDER = TrainingOrder(number=2**40, client="client-1", request=b"request")
REPLY = TrainingReply(number=3, kind=DONE, body=b"body")


def test_orders_and_replies_come_back() -> None:
    assert TrainingOrder.from_bytes(ORDER.to_bytes()) == ORDER
    assert TrainingReply.from_bytes(REPLY.to_bytes()) == REPLY


@pytest.mark.parametrize("damaged", [ORDER.to_bytes()[:-1], ORDER.to_bytes() + b"\0", REPLY.to_bytes(), b""])
def test_damaged_orders_are_refused(damaged: bytes) -> None:
    with pytest.raises(secagg.WireError):
        TrainingOrder.from_bytes(damaged)


def test_what_was_trained_comes_back_to_the_bit_and_is_not_shown() -> None:
    delta = {"a": np.array([[1e-45, -0.0]], dtype=np.float32), "b": np.zeros((0, 3), dtype=np.float32)}
    found = unpack_trained(pack_trained(Trained(delta=delta, examples=7, seconds=0.25)))
    assert (found.examples, found.seconds) == (7, 0.25)
    for name, value in delta.items():
        assert found.delta[name].dtype == value.dtype
        assert found.delta[name].tobytes() == value.tobytes()
    assert "7" not in repr(found)
