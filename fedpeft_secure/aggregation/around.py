"""What strategies have in common that stand around one that sums changes of tensors."""

from abc import ABC

from fedpeft_secure.aggregation.base import Reads, Weighing
from fedpeft_secure.aggregation.on_tensors import OnTensors


class AroundTensors(ABC):
    """To everybody else it is the inner strategy: its name, what it reads, whose weights count."""

    __slots__ = ()

    inner: OnTensors

    @property
    def name(self) -> str:
        """As in the configuration."""
        return self.inner.name

    @property
    def reads(self) -> Reads:
        """See `Strategy`."""
        return self.inner.reads

    @property
    def scales(self) -> bool:
        """See `RoundStrategy`."""
        return self.inner.scales

    @property
    def weighing(self) -> Weighing:
        """Whose weights count."""
        return self.inner.weighing
