"""A sum of something that is no change of the adapter."""

from collections.abc import Callable

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.on_tensors import OnTensors
from fedpeft_secure.aggregation.one_vector import VECTOR, OneVector
from fedpeft_secure.aggregation.round_strategy import Received
from fedpeft_secure.aggregation.server_optimizers import FedAvg
from fedpeft_secure.plans import RoundPlan

SPEC = AdapterSpec(entries=(Entry(name="head", shape=(2, 2), role=Role.HEAD, module="head"),))


def test_the_vector_is_sent_as_it_is_and_the_adapter_stays(make_plan: Callable[..., RoundPlan]) -> None:
    state, strategy = AdapterState({"head": np.ones((2, 2), dtype=np.float32)}), OnTensors(strategy=OneVector(size=3))
    context = RoundContext(plan=make_plan(), spec=SPEC, state=state)
    layout = strategy.layout(context, ())
    assert (layout.size, layout.covered) == (3, {})
    vector = np.array([0.5, -1.5, 1 / 3])
    assert np.array_equal(strategy.encode({VECTOR: vector}, context, "client-1", layout), vector)
    received = Received(means=(vector,), survivors=("client-1",))
    before = FedAvg(learning_rate=1.0)
    after, optimizer = strategy.apply(received, context, before)
    assert after.digest() == state.digest()
    assert optimizer is before
