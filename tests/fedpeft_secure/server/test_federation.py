from collections.abc import Callable
from pathlib import Path

import pytest

import dp
from fedpeft_secure import Config
from fedpeft_secure.clients.randomness import SecureRandomness, SeededRandomness
from fedpeft_secure.events import Event, Notice, PhaseStarted
from fedpeft_secure.server.federation import Federation, build_federation

MakeFederation = Callable[..., Federation]


@pytest.fixture
def told(tiny_config: Callable[..., Config], tmp_path: Path) -> Callable[[dict[str, object]], list[Event]]:
    """What is told while a federation with these settings is built."""

    def build(overrides: dict[str, object]) -> list[Event]:
        events: list[Event] = []
        path = tmp_path / "told.sqlite"
        with dp.Ledger.open(path) as ledger:
            build_federation(tiny_config(overrides), run="run", ledger=ledger, ledger_path=path, listen=events.append)
        return events

    return build


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def test_every_client_has_data_a_budget_a_key_and_a_memory_of_its_own(make_federation: MakeFederation) -> None:
    federation = make_federation()
    clients = list(federation.clients.values())
    assert tuple(federation.clients) == federation.config.client_names
    assert [len(client.examples) for client in clients] == [len(texts) for texts in federation.data.clients]
    assert [client.budget for client in clients] == list(federation.budgets)
    assert len({client.identity.public for client in clients}) == len({client.memory_file for client in clients}) == 5
    assert all(client.directory.members[client.name] == client.identity.public for client in clients)


def test_the_backbone_is_shared(make_federation: MakeFederation) -> None:
    federation = make_federation({"clients.count": 12, "clients.per_round": 12})
    assert {id(client.backbone) for client in federation.clients.values()} == {id(federation.backbone)}


def test_clients_agree_to_the_first_plan(make_federation: MakeFederation) -> None:
    agreed = [client.policy.agreed for client in make_federation().clients.values()]
    assert all(plan is not None for plan in agreed)
    assert {plan.round for plan in agreed if plan is not None} == {1}


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ({}, SeededRandomness),
        ({"privacy.noise": "secure"}, SecureRandomness),
        ({"privacy.epsilon": "inf"}, SeededRandomness),
    ],
)
def test_secure_noise_is_never_seeded(
    overrides: dict[str, object], kind: type, make_federation: MakeFederation
) -> None:
    assert all(type(client.randomness) is kind for client in make_federation(overrides).clients.values())


def test_the_same_seed_gives_the_same_parties(make_federation: MakeFederation) -> None:
    one, two, other = make_federation(), make_federation(), make_federation({"seed": 1})
    assert one.keys.directory == two.keys.directory != other.keys.directory
    assert one.start.digest() == two.start.digest() != other.start.digest()


def test_a_third_party_is_there_where_the_protocol_needs_one(make_federation: MakeFederation) -> None:
    assert make_federation().key_holder is None
    helped = make_federation({"secure_sum.protocol": "helper"})
    assert helped.key_holder is not None
    assert helped.keys.directory.key_holder is not None


def test_what_was_decided_is_told(told: Callable[[dict[str, object]], list[Event]]) -> None:
    events = told({"secure_sum.protocol": "auto"})
    assert [event.name.split(" ")[:2] for event in events if isinstance(event, PhaseStarted)] == [
        ["loading", "data"],
        ["loading", "model"],
    ]
    first, second = notices(events)
    assert first.startswith("secure sum: masked, 5 clients that stay")
    assert second.startswith("gradients of single examples: by hooks")


def test_a_weight_that_is_capped_is_told(told: Callable[[dict[str, object]], list[Event]]) -> None:
    small = {"privacy.epsilon": "inf", "training.nominal_batch": 2}
    assert "client-1 has more examples than the 32 that it may weigh" in notices(told(small))[0]
    assert len(notices(told(small))) == 5
    assert notices(told({"privacy.epsilon": "inf"})) == []


def test_what_clients_hold_out_is_nowhere_taken_for_training_data(make_federation: MakeFederation) -> None:
    """Attacks and ledgers look examples up by their place among the texts that a client trains on."""
    federation = make_federation({"data.client_test_fraction": 0.4})
    for texts, client in zip(federation.data.clients, federation.clients.values(), strict=True):
        assert client.held_out is not None
        tokens = federation.tokenise(texts).token_ids
        assert tokens == client.examples.token_ids
    kept = sum(len(client.held_out or ()) for client in federation.clients.values())
    assert kept == pytest.approx(0.4 * (kept + sum(map(len, federation.data.clients))), rel=0.3)
