from collections.abc import Callable
from pathlib import Path

from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.config import Config
from fedpeft_secure.engines.base import Engine
from fedpeft_secure.engines.flower.orders import Order
from fedpeft_secure.engines.in_process import InProcess
from fedpeft_secure.events import Event, Notice
from fedpeft_secure.result import RoundRecord
from fedpeft_secure.server.job import training_run

from .conftest import Site

MakeSite = Callable[..., Site]


class Trained:
    """A run, and what it told."""

    def __init__(self, config: Config | None, root: Path, engine: Engine, *, resume: bool = False) -> None:
        self.events: list[Event] = []
        with training_run(config, root, resume=resume, listen=self.events.append, engine=engine) as run:
            self.state: AdapterState = run.progress.state
            self.records: tuple[RoundRecord, ...] = run.progress.records

    @property
    def notices(self) -> str:
        return "\n".join(event.text for event in self.events if isinstance(event, Notice))


def test_the_adapter_is_the_in_process_engines_to_the_bit(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    here = Trained(site.config, tmp_path / "here", InProcess())
    there = Trained(site.config, tmp_path / "there", site.engine())
    assert there.state.digest() == here.state.digest()
    assert [record.model_hash for record in there.records] == [record.model_hash for record in here.records]
    assert [record.epsilon_spent for record in there.records] == [record.epsilon_spent for record in here.records]
    assert [record.accuracy for record in there.records] == [record.accuracy for record in here.records]


def order_of(site: Site, message: bytes) -> Order:
    return Order.opened(message, server_key=site.server.public)
