"""SCAFFOLD: control variates correct the drift of clients whose data differ, and no client sends a byte more.

Client k adds c − c_k to every gradient; c_k is the mean of its gradients in its last round, c the weighted mean of all
c_k. The paper has clients send the change of c_k as well. With plain SGD steps that is −Δy_k/(K η) − c, a function of
the model update Δy_k which the sum holds already, so the server reads c off the one secure sum. Clients receive c with
the adapter, under the same hash.

Guarantee: under DP c_k is a mean of noised gradients that were charged, so that whatever is sent is post-processing.
Assumes: plain SGD with as many steps for everybody; c_k of a client that vanished after training is taken for known.
Source: Karimireddy et al. 2020, *SCAFFOLD: Stochastic Controlled Averaging for Federated Learning*, Algorithm 1, option
II.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.aggregation.around import AroundTensors
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.layout import Layout
from fedpeft_secure.aggregation.on_tensors import OnTensors
from fedpeft_secure.aggregation.round_strategy import Earlier, Received, Start
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer
from fedpeft_secure.aggregation.side_tensors import model_context, model_only, with_side_tensors

ENDING = ".control_variate"


@dataclass(frozen=True, kw_only=True, slots=True)
class Controlled(AroundTensors):
    """A strategy that sums changes of tensors, with control variates.

    Args:
        inner: the strategy; its tensors keep their coordinates from round to round.
        clients: how many there are in all.
    """

    inner: OnTensors
    clients: int

    def adapter(self, spec: AdapterSpec) -> AdapterSpec:
        """That of the method, with c of every trained tensor."""
        return with_side_tensors(spec, self.inner.trainable(spec), lambda name: name + ENDING)

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """See `Strategy`."""
        return self.inner.trainable(model_only(spec))

    def start(self, context: RoundContext, client: str) -> Start:
        """The inner strategy's, and c."""
        control = {name: context.state[name + ENDING] for name in self.trainable(context.spec).names}
        return replace(self.inner.start(model_context(context), client), control=control)

    def layout(self, context: RoundContext, earlier: Earlier) -> Layout:
        """The inner strategy's."""
        return self.inner.layout(model_context(context), earlier)

    def encode(self, delta: Mapping[str, np.ndarray], context: RoundContext, client: str, layout: Layout) -> np.ndarray:
        """The change of the model, alone."""
        return self.inner.encode(delta, model_context(context), client, layout)

    def apply(
        self, received: Received, context: RoundContext, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """The inner strategy's step; c ← c + |S|/N (mean change of c_k)."""
        inner = model_context(context)
        state, optimizer = self.inner.apply(received, inner, optimizer)
        steps = context.plan.local_steps * context.plan.learning_rate
        share = len(received.survivors) / self.clients
        changes = {name: blocks[0] for name, blocks in self.layout(context, ()).unpack(received.means[0]).items()}
        control = {
            name + ENDING: (1 - share) * context.state[name + ENDING] - share * change / steps
            for name, change in changes.items()
        }
        return AdapterState({**state.values, **control}), optimizer
