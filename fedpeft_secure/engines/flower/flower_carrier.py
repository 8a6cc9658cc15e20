"""Carries bytes by Flower's SuperLink and SuperNodes; a `Carrier`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

MESSAGE, RECORD, FIELD = "query", "fedpeft", "frame"
POLL_SECONDS = 0.25
"""Between two looks for replies: Flower's own three seconds are longer than most exchanges."""


@dataclass(frozen=True, slots=True)
class FlowerCarrier:
    """SuperLink and SuperNodes."""

    grid: Grid = field(repr=False)

    def nodes(self) -> frozenset[int]:
        """See `Carrier`."""
        return frozenset(self.grid.get_node_ids())

    def exchange(self, messages: Mapping[int, bytes], *, seconds: float) -> dict[int, bytes]:
        """See `Carrier`: all messages are pushed at once; late replies are never looked for again."""
        deadline = time.monotonic() + seconds
        sent = [
            Message(pack(data), dst_node_id=node, message_type=MESSAGE, ttl=seconds) for node, data in messages.items()
        ]
        waiting = {identifier for identifier in self.grid.push_messages(sent) if identifier}
        found: dict[int, bytes] = {}
        while waiting and time.monotonic() < deadline:
            for reply in self.grid.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                if not reply.has_error():
                    data = unpack(reply.content)
                    if data is not None and reply.metadata.src_node_id in messages:
                        found[reply.metadata.src_node_id] = data
            if waiting:
                time.sleep(POLL_SECONDS)
        return found


def pack(data: bytes) -> RecordDict:
    """Bytes as Flower carries them."""
    return RecordDict({RECORD: ConfigRecord({FIELD: data})})


def unpack(content: RecordDict) -> bytes | None:
    """Inverts `pack`; None for anything else."""
    record = content.config_records.get(RECORD)
    data = None if record is None else record.get(FIELD)
    return data if isinstance(data, bytes) else None
