"""What strategies have in common that send changes of tensors as they are."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.aggregation.base import Weighing
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.layout import Block, Layout, covered
from fedpeft_secure.aggregation.round_strategy import Earlier, Start, own_start


class SumsTensors(ABC):
    """One block for each tensor that a round sends; whatever a client does not train counts as unchanged."""

    __slots__ = ()

    @property
    def weighing(self) -> Weighing:
        """Whose weights count."""
        return Weighing.GIVEN

    def adapter(self, spec: AdapterSpec) -> AdapterSpec:
        """That of the method."""
        return spec

    @abstractmethod
    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """The tensors that are ever sent."""

    def sent(self, context: RoundContext) -> AdapterSpec:
        """The tensors that this round sends."""
        return self.trainable(context.spec)

    def start(self, context: RoundContext, client: str) -> Start:
        """The shared adapter, with the first slots where the client has fewer."""
        return own_start(context, client, self.sent(context))

    def layout(self, context: RoundContext, earlier: Earlier) -> Layout:
        """One block a tensor."""
        del earlier
        sent = self.sent(context)
        blocks = tuple(Block(owner=entry.name, shape=entry.shape) for entry in sent.entries)
        return Layout(blocks=blocks, clip=context.plan.codec_clip, covered=tensor_coverage(context, sent))

    def encode(self, delta: Mapping[str, np.ndarray], context: RoundContext, client: str, layout: Layout) -> np.ndarray:
        """The change of what is sent."""
        del context, client
        return np.concatenate(
            [delta.get(block.owner, np.zeros(block.shape, dtype=np.float32)).reshape(-1) for block in layout.blocks]
        )


def tensor_coverage(context: RoundContext, trained: AdapterSpec) -> dict[str, tuple[tuple[int, int], ...]]:
    """What each client fills of the flat tensors of `trained`."""
    if not context.plan.allotments:
        return {}
    filled = {}
    for client in context.plan.cohort:
        start = own_start(context, client, trained)
        tuned = set(start.trained.names)
        filled[client] = [
            np.broadcast_to(start.masks.get(entry.name, np.ones(1)) * (entry.name in tuned) > 0, entry.shape)
            for entry in trained.entries
        ]
    return covered(filled)
