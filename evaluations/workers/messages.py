"""What worker processes and whoever started them tell each other, one JSON line each."""

import os
from contextlib import suppress
from queue import SimpleQueue
from typing import Literal, TextIO

from pydantic import BaseModel, ConfigDict


class Order(BaseModel):
    """Train this configuration in this directory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: str
    folder: str


class Report(BaseModel):
    """How far it is: a round finished, the cell done, or failed for the reason in `text`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["round", "done", "failed"]
    text: str = ""
    round: int = 0
    rounds: int = 0


def read_orders(source: TextIO, orders: "SimpleQueue[Order]") -> None:
    """Passes orders on as they come; when nobody is left to give any, this process ends, whatever it is doing."""
    with suppress(ValueError):
        for line in source:
            orders.put(Order.model_validate_json(line))
    os._exit(0)
