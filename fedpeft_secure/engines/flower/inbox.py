"""Which orders a party obeys: those of its own server, each once, whatever happens to the process in between."""

from dataclasses import dataclass
from pathlib import Path

import secagg
from fedpeft_secure.engines.flower.orders import JOIN, Order
from fedpeft_secure.errors import DataError
from fedpeft_secure.rundir import write_atomically


@dataclass(kw_only=True, slots=True)
class Inbox:
    """Accepts orders by signature, recipient and number.

    Guarantee: no order is accepted twice, not even after a restart, and none of anybody but the pinned server.
    Assumes: the file survives; a deleted one lets old orders in again, which the ledger and the client's memory then
        answer with the same bytes or not at all.

    Args:
        name: the party's.
        server_key: the server's pinned public identity.
        path: keeps the largest number so far, for the owner's eyes only.
    """

    name: str
    server_key: bytes
    path: Path

    def accept(self, data: bytes) -> Order:
        """The order, stored as obeyed before anything is done for it.

        Raises:
            secagg.WireError: If it is not the server's, for somebody else, or old.
        """
        order = Order.opened(data, server_key=self.server_key)
        if order.recipient != self.name and not (order.kind == JOIN and not order.recipient):
            raise secagg.WireError(f"order: it is for {order.recipient!r}")
        if order.number <= self._last():
            raise secagg.WireError(f"order {order.number}: it was obeyed before, or is older than one that was")
        write_atomically(self.path, str(order.number).encode(), mode=0o600)
        return order

    def _last(self) -> int:
        if not self.path.exists():
            return -1
        try:
            return int(self.path.read_bytes())
        except ValueError:
            raise DataError(f"{self.path} is damaged; restore a backup") from None
