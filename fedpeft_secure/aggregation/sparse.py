"""Sparse rounds: each trains and sends a share of the coordinates, the same ones for all clients, so that sums work.

Which ones is public: drawn anew for every attempt, or half of them drawn and half taken where the last sum that held
them changed most. Clients that chose by their own updates would tell the server where these are large.

Guarantee: the coordinates follow from the plan and from earlier sums alone; under DP these are sums of noised updates.
Assumes: every client trains the whole module, in coordinates that stay the same from round to round.
Does not cover: gradients are clipped as a whole, those of frozen coordinates included.
Source: random masks as in Konečný et al. 2016, *Federated Learning: Strategies for Improving Communication Efficiency*,
section 2 (structured updates).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, flatten, unflatten
from fedpeft_secure.aggregation.around import AroundTensors
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.layout import Block, Layout
from fedpeft_secure.aggregation.on_tensors import OnTensors
from fedpeft_secure.aggregation.round_strategy import Earlier, Received, Start
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer
from fedpeft_secure.aggregation.side_tensors import model_context, model_only, with_side_tensors

ENDING = ".last_change"
SparseRule = Literal["random", "last_sum"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sparse(AroundTensors):
    """A strategy that sums changes of tensors, a share of the coordinates a round.

    Args:
        inner: the strategy; its tensors keep their coordinates from round to round.
        share: of the coordinates, in (0, 1).
        rule: which: "random" ones, or by half those that changed most in the "last_sum" that held them.
    """

    inner: OnTensors
    share: float
    rule: SparseRule

    def adapter(self, spec: AdapterSpec) -> AdapterSpec:
        """That of the method; with "last_sum" also the last change of every coordinate that was summed."""
        if self.rule == "random":
            return spec
        return with_side_tensors(spec, self.inner.trainable(spec), lambda name: name + ENDING)

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """See `Strategy`."""
        return self.inner.trainable(model_only(spec))

    def kept(self, context: RoundContext) -> np.ndarray:
        """The coordinates of this round among those of `trainable`, ascending; public."""
        trained, count = self.trainable(context.spec), self._count(context.spec)
        # Raw words are the same in every version of NumPy, which a shuffle of its own need not be.
        order = np.argsort(np.random.PCG64(context.seed).random_raw(trained.size), kind="stable")
        if self.rule == "random":
            return np.sort(order[:count])
        last = np.abs(_last_changes(context.state, trained))
        moved = order[np.argsort(-last[order], kind="stable")][: count // 2]  # ties in the drawn order
        drawn = order[~np.isin(order, moved)][: count - len(moved)]
        return np.sort(np.concatenate([moved, drawn]))

    def start(self, context: RoundContext, client: str) -> Start:
        """The inner strategy's, with everything frozen but this round's coordinates."""
        start, trained = self.inner.start(model_context(context), client), self.trainable(context.spec)
        chosen = np.zeros(trained.size, dtype=np.float32)
        chosen[self.kept(context)] = 1.0
        return replace(start, masks={**start.masks, **unflatten(chosen, trained)})

    def layout(self, context: RoundContext, earlier: Earlier) -> Layout:
        """One block: this round's coordinates."""
        del earlier
        block = Block(owner="kept coordinates", shape=(self._count(context.spec),))
        return Layout(blocks=(block,), clip=context.plan.codec_clip)

    def encode(self, delta: Mapping[str, np.ndarray], context: RoundContext, client: str, layout: Layout) -> np.ndarray:
        """The inner strategy's vector, this round's coordinates alone."""
        del layout
        inner = model_context(context)
        return self.inner.encode(delta, inner, client, self.inner.layout(inner, ()))[self.kept(context)]

    def apply(
        self, received: Received, context: RoundContext, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """The inner strategy's step at this round's coordinates; the others stay, while the memory of them fades."""
        trained, kept = self.trainable(context.spec), self.kept(context)
        mean = np.zeros(trained.size)
        mean[kept] = received.means[0]
        inner = model_context(context)
        stepped, optimizer = self.inner.apply(replace(received, means=(mean,)), inner, optimizer)
        values = flatten(inner.state, trained).copy()
        values[kept] = flatten(stepped, trained)[kept]
        state = context.state.replace(unflatten(values, trained))
        return (state if self.rule == "random" else self._remember(state, mean, kept, trained)), optimizer

    def _count(self, spec: AdapterSpec) -> int:
        return max(1, math.ceil(self.share * self.trainable(spec).size))

    def _remember(self, state: AdapterState, mean: np.ndarray, kept: np.ndarray, trained: AdapterSpec) -> AdapterState:
        last = _last_changes(state, trained)
        last[kept] = mean[kept]
        return state.replace({name + ENDING: value for name, value in unflatten(last, trained).items()})


def _last_changes(state: AdapterState, trained: AdapterSpec) -> np.ndarray:
    """The change of every trained value in the last sum that held it, in canonical order; 0 before the first."""
    return np.concatenate([state[name + ENDING].reshape(-1) for name in trained.names])
