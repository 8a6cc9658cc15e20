from collections.abc import Callable
from pathlib import Path

import pytest

from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.memory import load_memory, memory_file
from fedpeft_secure.config import Config
from fedpeft_secure.engines.base import Engine
from fedpeft_secure.engines.flower.orders import STEP, TRAIN, Order, unbundle
from fedpeft_secure.engines.in_process import InProcess
from fedpeft_secure.errors import RunFailedError
from fedpeft_secure.events import Event, Notice
from fedpeft_secure.result import RoundRecord
from fedpeft_secure.server.job import training_run

from .conftest import Site
from .dropping import Dropping

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


@pytest.mark.parametrize("downloads", ["full", pytest.param("deltas", marks=pytest.mark.slow)])
def test_the_adapter_is_the_in_process_engines_to_the_bit(downloads: str, make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site({"aggregation.downloads": downloads})
    here = Trained(site.config, tmp_path / "here", InProcess())
    there = Trained(site.config, tmp_path / "there", site.engine())
    assert there.state.digest() == here.state.digest()
    assert [record.model_hash for record in there.records] == [record.model_hash for record in here.records]
    assert [record.epsilon_spent for record in there.records] == [record.epsilon_spent for record in here.records]
    assert [record.accuracy for record in there.records] == [record.accuracy for record in here.records]


def order_of(site: Site, message: bytes) -> Order:
    return Order.opened(message, server_key=site.server.public)


@pytest.mark.parametrize("phase", ["advertise", "share", "upload", "confirm", "unmask"])
def test_a_node_that_vanishes_in_any_phase_drops_out_and_the_rest_is_summed(
    phase: str, make_site: MakeSite, tmp_path: Path
) -> None:
    """The very same clients vanish in process: the adapters must be equal to the bit."""
    site = make_site({"training.rounds": 1})
    dead: set[int] = set()

    def hook(node: int, message: bytes, deliver: Callable[[bytes], bytes | None]) -> bytes | None:
        order = order_of(site, message)
        said = {envelope.phase for envelope in unbundle(order.body)} if order.kind == STEP else {order.kind}
        if node == 2 and (phase in said or (phase == "advertise" and order.kind == TRAIN)):
            dead.add(node)
        return None if node in dead else deliver(message)

    site.lines.hook = hook
    there = Trained(site.config, tmp_path / "there", site.engine())
    assert dead == {2}
    assert ("client-2", "train" if phase == "advertise" else "step", "no answer") in site.lost
    drop = {phase: frozenset({"client-2"})}
    here = Trained(site.config, tmp_path / "here", Dropping(drop))
    assert there.records[0].survivors == here.records[0].survivors
    assert there.state.digest() == here.state.digest()


def test_a_node_that_is_restarted_within_a_round_drops_out_of_it_and_its_charge_stands(
    make_site: MakeSite, tmp_path: Path
) -> None:
    site = make_site({"privacy.noise": "secure"})
    steps = 0

    def hook(node: int, message: bytes, deliver: Callable[[bytes], bytes | None]) -> bytes | None:
        nonlocal steps
        if node == 2 and order_of(site, message).kind == STEP:
            steps += 1
            if steps == 2:
                site.restart("client-2")
        return deliver(message)

    site.lines.hook = hook
    trained = Trained(site.config, tmp_path / "run", site.engine())
    first, second = trained.records
    assert "client-2" not in first.survivors
    assert "client-2" in second.survivors, "it is back in the next round"
    assert any("client-2 was restarted within the round" in notice for notice in trained.notices.splitlines())
    charges = site.nodes["client-2"].ledger.history("client-2")
    assert [(charge.release.round, charge.release.attempt) for charge in charges] == [(1, 0), (2, 0)]


class Killed(BaseException):
    """The server dies, whatever it was doing."""


@pytest.mark.parametrize("noise", ["simulation", "secure"])
def test_a_server_that_is_killed_closes_its_round_and_goes_on_with_the_next(
    noise: str, make_site: MakeSite, tmp_path: Path
) -> None:
    site = make_site({"training.rounds": 3, "privacy.noise": noise})
    uploads = 0

    def hook(node: int, message: bytes, deliver: Callable[[bytes], bytes | None]) -> bytes | None:
        nonlocal uploads
        reply = deliver(message)
        order = order_of(site, message)
        if order.kind == STEP and any(envelope.phase == "upload" for envelope in unbundle(order.body)):
            uploads += 1
            if uploads == 8:  # three of five have uploaded in the second round
                raise Killed
        return reply

    site.lines.hook = hook
    with pytest.raises(Killed):
        Trained(site.config, tmp_path / "run", site.engine())
    resumed = Trained(None, tmp_path / "run", site.engine(), resume=True)
    assert [record.round for record in resumed.records] == [1, 2, 3]
    assert [bool(record.failure) for record in resumed.records] == [False, True, False]
    assert resumed.records[1].failure == "the server stopped within this round"
    assert "round 2 was interrupted: it is closed" in resumed.notices
    for name, node in site.nodes.items():
        releases = [(charge.release.round, charge.release.attempt) for charge in node.ledger.history(name)]
        assert releases == [(1, 0), (2, 0), (3, 0)]
        sent = [upload.round for upload in load_memory(memory_file(node.settings.ledger, name)).uploads]
        assert sent.count(2) <= 1, "what was uploaded is never sent again under other masks"


def test_the_servers_own_ledger_never_says_less_than_a_clients(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()

    def hook(node: int, message: bytes, deliver: Callable[[bytes], bytes | None]) -> bytes | None:
        return None if node == 3 and order_of(site, message).kind == TRAIN else deliver(message)

    site.lines.hook = hook
    last = Trained(site.config, tmp_path / "run", site.engine()).records[-1]
    for name, node in site.nodes.items():
        own = node.joined.client.account.spent().epsilon if node.joined else 0.0
        assert last.epsilon_spent[name] >= own
    assert last.epsilon_spent["client-3"] > 0 == len(site.nodes["client-3"].ledger.history("client-3"))


def test_a_strategy_that_reads_two_sums(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site(
        {
            "aggregation.strategy": "fedask",
            "privacy.epsilon": "inf",
            "training.rounds": 1,
            "training.server_optimizer": "sgd",
            "training.server_learning_rate": 1.0,
        }
    )
    for node in site.nodes.values():
        node.policy = node.policy.model_copy(update={"epsilon_per_run": float("inf"), "epsilon_total": float("inf")})
    here = Trained(site.config, tmp_path / "here", InProcess())
    there = Trained(site.config, tmp_path / "there", site.engine())
    assert not there.records[0].failure
    assert there.state.digest() == here.state.digest()


def test_nobody_joining_ends_the_run(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    site.lines.answerers.clear()
    with pytest.raises(RunFailedError, match="keeps failing"):
        Trained(site.config.model_copy(), tmp_path / "run", site.engine())
    assert ("client-1", "train", "unreachable") in site.lost


def test_a_key_holder_is_a_node_of_its_own(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site({"secure_sum.protocol": "helper", "training.rounds": 1})
    there = Trained(site.config, tmp_path / "there", site.engine())
    here = Trained(site.config, tmp_path / "here", InProcess())
    assert not there.records[0].failure
    assert there.state.digest() == here.state.digest()
    asked = [order_of(site, message).kind for node, message in site.lines.passed if node == 99]
    assert asked == ["join", "hold", "hold"]


def test_a_key_holder_that_is_gone_fails_the_round(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site({"secure_sum.protocol": "helper", "training.rounds": 1})
    del site.lines.answerers[99]
    with pytest.raises(RunFailedError, match="keeps failing"):
        Trained(site.config, tmp_path / "run", site.engine())
    assert ("key-holder", "hold", "unreachable") in site.lost


def test_groups_have_sums_of_their_own_one_after_another(make_site: MakeSite, tmp_path: Path) -> None:
    overrides = {
        "clients.count": 9,
        "clients.per_round": 9,
        "training.rounds": 1,
        "aggregation.groups": 3,
        "aggregation.robust": "median",
        "secure_sum.protocol": "helper",
    }
    site = make_site(overrides)
    (record,) = Trained(site.config, tmp_path / "there", site.engine()).records
    assert [len(group.survivors) for group in record.groups] == [3, 3, 3]
    assert record.survivors == tuple(sorted(site.nodes))
    assert (record.failure, record.dropped) == ("", ())
