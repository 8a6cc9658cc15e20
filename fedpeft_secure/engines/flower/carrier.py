"""What carries bytes to nodes and back: an interface, so that all else runs and is tested without Flower."""

from collections.abc import Mapping
from typing import Protocol


class Carrier(Protocol):
    """Brings one message to each of some nodes, and the replies that come in time."""

    def nodes(self) -> frozenset[int]:
        """Who is there, by the carrier's own numbers."""
        ...

    def exchange(self, messages: Mapping[int, bytes], *, seconds: float) -> dict[int, bytes]:
        """Sends {node: message}; {node: reply} of those that answered before the deadline."""
        ...
