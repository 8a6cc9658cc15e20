"""What a process that trains simulated clients is told, and what it says: frames of our own encoding, no pickles."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load, save

from fedpeft_secure.clients.trainer import Trained
from secagg.wire import Reader, Writer

ORDER_MAGIC, REPLY_MAGIC = b"FTO\x01", b"FTR\x01"
NUMBER_BYTES: Final = 8

DONE, REFUSED, FAILED = KINDS = ("done", "refused", "failed")
"""Trained; the client does not train as this plan says; training itself went wrong."""


class Seat(BaseModel):
    """What a worker is told first, as JSON.

    Args:
        config: the run's, with nothing decided that it leaves open.
        run: its name.
        ledger_path: beside it lie the clients' own values; the ledger itself is not opened.
        clients: whom this worker trains.
        threads: of its arithmetic.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    config: dict[str, Any]
    run: str
    ledger_path: str
    clients: list[str]
    threads: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOrder:
    """One client is to answer the server's request; `number` is the order's own."""

    number: int
    client: str
    request: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """As one frame."""
        return Writer(ORDER_MAGIC).uint(self.number, num_bytes=NUMBER_BYTES).text(self.client).blob(self.request).done()

    @classmethod
    def from_bytes(cls, data: bytes) -> "TrainingOrder":
        """Parses strictly; raises WireError."""
        reader = Reader(data=data, what="training order").magic(ORDER_MAGIC)
        order = cls(number=reader.uint(num_bytes=NUMBER_BYTES), client=reader.text(), request=reader.blob())
        reader.end()
        return order


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingReply:
    """What came of the order with this number: a packed result, or a reason."""

    number: int
    kind: str
    body: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """As one frame."""
        return Writer(REPLY_MAGIC).uint(self.number, num_bytes=NUMBER_BYTES).text(self.kind).blob(self.body).done()

    @classmethod
    def from_bytes(cls, data: bytes) -> "TrainingReply":
        """Parses strictly; raises WireError."""
        reader = Reader(data=data, what="training reply").magic(REPLY_MAGIC)
        reply = cls(number=reader.uint(num_bytes=NUMBER_BYTES), kind=reader.text(), body=reader.blob())
        reader.end()
        return reply


def pack_trained(trained: Trained) -> bytes:
    """Two numbers, then safetensors."""
    numbers = (trained.examples, round(trained.seconds * 1e6))
    return b"".join(number.to_bytes(NUMBER_BYTES, "big") for number in numbers) + save(dict(trained.delta))


def unpack_trained(data: bytes) -> Trained:
    """Inverts `pack_trained`; seconds come back to the microsecond."""
    examples, microseconds = (int.from_bytes(data[at : at + NUMBER_BYTES], "big") for at in (0, NUMBER_BYTES))
    return Trained(delta=load(data[2 * NUMBER_BYTES :]), examples=examples, seconds=microseconds / 1e6)
