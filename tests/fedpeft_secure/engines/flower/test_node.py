import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import secagg
from fedpeft_secure.engines.flower.node import open_node
from fedpeft_secure.engines.flower.nodes import Nodes
from fedpeft_secure.engines.flower.orders import DONE, JOIN, REFUSED, STEP, Answer, Order, bundle
from fedpeft_secure.engines.flower.terms import Terms
from fedpeft_secure.errors import DataError
from fedpeft_secure.events import ignore
from fedpeft_secure.model_digest import base_digest
from fedpeft_secure.server.job import training_run
from fedpeft_secure.setting import decide_all, load_setting
from fedpeft_secure.version import __version__

from .conftest import Site

MakeSite = Callable[..., Site]


def order(site: Site, kind: str, body: bytes, *, number: int, recipient: str = "client-1") -> bytes:
    return Order(run="run", number=number, kind=kind, recipient=recipient, body=body).signed(site.server)


def terms_of(site: Site) -> Terms:
    """What the server tells everybody; of another base model."""
    return Terms(
        config=site.config.to_dict(),
        classes=["praise", "complaint"],
        version=__version__,
        directory=site.directory.fingerprint.hex(),
        base="00" * 32,
    )


def base_of(site: Site) -> str:
    """The digest of the model that the nodes really have."""
    setting = load_setting(decide_all(site.config, listen=ignore), run="run", classes=("a", "b"), listen=ignore)
    return base_digest(setting.backbone.model)


def reason(site: Site, data: bytes) -> str:
    """Why client-1 refuses, with its signature checked."""
    reply = site.nodes["client-1"].answer(data)
    assert reply is not None
    answer = Answer.opened(reply, order=data, directory=site.directory)
    assert answer.kind == REFUSED
    return answer.reason


def test_strangers_old_orders_and_orders_for_others_get_nothing(make_site: MakeSite) -> None:
    site = make_site()
    node = site.nodes["client-1"]
    stranger = replace(site, server=secagg.Identity.generate())
    assert node.answer(b"garbage") is None
    assert node.answer(order(stranger, STEP, b"", number=5)) is None
    assert node.answer(order(site, STEP, b"", number=5, recipient="client-2")) is None
    first = order(site, STEP, bundle(()), number=5)
    assert node.answer(first) is not None
    assert node.answer(first) is None, "a replayed order"
    assert node.answer(order(site, STEP, bundle(()), number=4)) is None, "an order that was held back"
    node = site.restart("client-1")
    assert node.answer(first) is None, "not even by a node that was restarted"
    assert node.answer(order(site, STEP, bundle(()), number=6)) is not None
    assert site.nodes["client-1"].ledger.clients() == ()


@pytest.mark.parametrize(
    ("policy", "because"),
    [
        ({"min_cohort": 4}, "min_cohort 3 is below 4"),
        ({"adversarial_fraction": 0.3}, "adversarial_fraction 0.1 is below 0.3"),
        ({"epsilon_per_run": 2.0}, "ε = 8 is above 2 for one run"),
        ({"epsilon_total": 4.0}, "ε = 8 is above 4 for all runs"),
        ({"delta": 1e-9}, "δ = 1e-05 is above 1e-09"),
        ({"protocols": ["helper"]}, "protocol 'masked' is not allowed"),
        ({"simulation_noise": False}, "noise from a seed is not allowed"),
        ({"methods": ["ia3"]}, "PEFT method 'lora' is not allowed"),
        ({"strategies": ["ffa"]}, "aggregation strategy 'auto' is not allowed"),
        ({"versions": ["9.9"]}, "version 0.1.0 is not allowed"),
    ],
)
def test_each_term_of_the_policy_is_refused_in_words(policy: dict[str, Any], because: str, make_site: MakeSite) -> None:
    site = make_site(policies={"client-1": policy})
    terms = terms_of(site)
    assert because in reason(site, order(site, JOIN, terms.to_bytes(), number=9))
    assert site.nodes["client-1"].joined is None


def test_all_violated_terms_are_named_at_once(make_site: MakeSite) -> None:
    site = make_site(policies={"client-1": {"min_cohort": 4, "methods": ["ia3"], "models": ["00" * 32]}})
    said = reason(site, order(site, JOIN, terms_of(site).to_bytes(), number=9))
    assert "min_cohort 3 is below 4" in said
    assert "PEFT method 'lora' is not allowed" in said


def test_other_models_and_directories_are_refused(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_site(policies={"client-1": {"models": ["00" * 32]}})
    terms = terms_of(site)
    honest = terms.model_copy(update={"base": "11" * 32})
    with monkeypatch.context() as patch:
        patch.delattr("fedpeft_secure.engines.flower.node.load_setting")
        said = reason(site, order(site, JOIN, honest.to_bytes(), number=8))
        assert "base model 1111" in said, "refused before anything is loaded"
    said = reason(site, order(site, JOIN, terms.to_bytes(), number=9))
    assert "is not among the allowed models" in said, "an allowed one was promised, and it is another one here"
    site.nodes["client-1"].policy = site.nodes["client-2"].policy
    assert "the server's is 0000" in reason(site, order(site, JOIN, terms.to_bytes(), number=10))
    other = terms.model_copy(update={"directory": "22" * 32})
    assert "another key directory" in reason(site, order(site, JOIN, other.to_bytes(), number=11))


@pytest.mark.parametrize(
    ("key", "value", "because"),
    [
        ("aggregation", {"strategy": "os:system"}, "strategy 'os:system' is not allowed"),
        ("peft", {"method": "os:system"}, "PEFT method 'os:system' is not allowed"),
        ("privacy", {"per_client": "/etc/passwd"}, "leaves budgets open"),
        ("nonsense", {}, "not valid here"),
    ],
)
def test_the_server_cannot_make_a_node_open_files_or_run_code(
    key: str, value: dict[str, Any], because: str, make_site: MakeSite
) -> None:
    site = make_site()
    terms = terms_of(site)
    config = {**terms.config, key: {**terms.config.get(key, {}), **value}}
    lying = terms.model_copy(update={"config": config})
    assert because in reason(site, order(site, JOIN, lying.to_bytes(), number=9))


def test_what_goes_wrong_with_the_data_stays_with_their_owner(make_site: MakeSite) -> None:
    site = make_site()
    terms = terms_of(site).model_copy(update={"base": base_of(site)})
    (site.folder / "client-1.jsonl").write_text('{"text": "a secret sentence", "label": 17}\n')
    said = reason(site, order(site, JOIN, terms.to_bytes(), number=9))
    assert said == "client-1 cannot go on; its own log says why"
    assert any("none of the classes praise, complaint" in line for line in site.logs)


SCALED = {"privacy.unit": "client", "privacy.mechanism": "central"}


def test_noise_that_the_server_is_to_add_needs_trust_in_it(make_site: MakeSite) -> None:
    """Otherwise a client would send its exact update, and book an ε for noise that a lying server leaves away."""
    site = make_site(SCALED, policies={"client-1": {"trust_server": False}})
    assert site.config.secure_sum.server == "malicious"
    said = reason(site, order(site, JOIN, terms_of(site).to_bytes(), number=9))
    assert "the run trusts the server with the noise, this client does not" in said


@pytest.mark.parametrize(
    "settings", [{}, {"privacy.epsilon": "inf"}, {"privacy.noise": "secure"}], ids=["seeded noise", "none", "secure"]
)
def test_keys_and_masks_of_a_node_follow_from_no_seed(settings: dict[str, Any], make_site: MakeSite) -> None:
    """The server knows the seed of the run: it stands in the terms."""
    site = make_site(settings, policies={"client-1": {"epsilon_per_run": math.inf, "epsilon_total": math.inf}})
    node = site.nodes["client-1"]
    terms = terms_of(site).model_copy(update={"base": base_of(site)})
    node.answer(order(site, JOIN, terms.to_bytes(), number=9))
    assert node.joined is not None
    client = node.joined.client
    assert client.policy.agreed is not None
    assert client.randomness.entropy(client.policy.agreed) is os.urandom


LABELS = '{"text": "a good one", "label": "praise"}\n{"text": "a bad one", "label": "complaint"}\n'


@pytest.mark.parametrize("rare", ["", '{"text": "a rare one", "label": "threat"}\n'])
def test_whether_a_node_joins_tells_nothing_of_its_labels(rare: str, make_site: MakeSite) -> None:
    """Which classes there are is for the owner to say: a server that leaves some out gets one answer from everybody."""
    site = make_site()
    (site.folder / "client-1.jsonl").write_text(LABELS + rare)
    node, terms = site.nodes["client-1"], terms_of(site).model_copy(update={"base": base_of(site)})
    node.settings = node.settings.model_copy(update={"classes": ("praise", "complaint", "threat")})
    said = reason(site, order(site, JOIN, terms.to_bytes(), number=9))
    assert "its classes (praise, complaint) are not those of this node's settings" in said
    assert not any("label" in line for line in site.logs), "no row was read"


def test_nor_of_its_groups(make_site: MakeSite) -> None:
    groups = {"careful": {"epsilon": 2.0, "share": 0.5}, "generous": {"epsilon": 8.0, "share": 0.5}}
    site = make_site({"privacy.groups": groups})
    node = site.nodes["client-1"]
    node.settings = node.settings.model_copy(update={"budget_group": "who", "groups": ("careful", "others")})
    said = reason(site, order(site, JOIN, terms_of(site).to_bytes(), number=9))
    assert said == "client-1 refuses the run: its groups are not those of this node's settings"


@pytest.mark.parametrize(
    ("rows", "change", "because"),
    [
        (LABELS, {"classes": ("praise", "threat")}, "a label that is none of the classes praise, threat"),
        ('{"text": "a", "label": 1, "who": "x"}\n', {"budget_group": "who", "groups": ("y",)}, "'x', which is none of"),
    ],
)
def test_a_row_that_the_settings_do_not_describe_stops_the_node_at_its_start(
    rows: str, change: dict[str, Any], because: str, make_site: MakeSite
) -> None:
    site = make_site()
    (site.folder / "client-1.jsonl").write_text(rows)
    node = site.nodes["client-1"]
    with pytest.raises(DataError, match=because):
        open_node(node.settings.model_copy(update=change), node.ledger, log=print)


def test_a_run_keeps_the_terms_on_which_a_node_joined_it(make_site: MakeSite) -> None:
    site = make_site()
    terms = terms_of(site).model_copy(update={"base": base_of(site)})
    steeper = {**terms.config, "training": {**terms.config["training"], "learning_rate": 7.0}}
    other = terms.model_copy(update={"config": steeper})
    site.nodes["client-1"].answer(order(site, JOIN, terms.to_bytes(), number=9))
    for number in (10, 11):
        said = reason(site, order(site, JOIN, other.to_bytes(), number=number))
        assert said == "client-1 refuses the run: it joined run 'run' on other terms; start a new run"
        site.restart("client-1")
    again = order(site, JOIN, terms.to_bytes(), number=12)
    assert (
        Answer.opened(site.nodes["client-1"].answer(again) or b"", order=again, directory=site.directory).kind == DONE
    )
    elsewhere = Order(run="another", number=13, kind=JOIN, recipient="client-1", body=other.to_bytes())
    signed = elsewhere.signed(site.server)
    reply = site.nodes["client-1"].answer(signed) or b""
    assert Answer.opened(reply, order=signed, directory=site.directory).kind == DONE, "another run has its own terms"


def test_a_refusing_client_is_visible_to_the_operator(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site({"clients.count": 6, "clients.per_round": 6}, policies={"client-2": {"epsilon_per_run": 2.0}})
    events: list[Any] = []
    with training_run(site.config, tmp_path / "run", resume=False, listen=events.append, engine=site.engine()) as run:
        assert all(record.dropped == ("client-2",) for record in run.progress.records)
    told = [event.text for event in events if type(event).__name__ == "Notice"]
    assert "client-2 does not join: client-2 refuses the run: ε = 8 is above 2 for one run" in told
    assert sum("round" in text and "client-2 refuses the run" in text for text in told) == 2
    assert site.nodes["client-2"].ledger.clients() == ()


def test_answers_that_are_forged_or_repeated_on_the_way_are_not_heard(make_site: MakeSite) -> None:
    site = make_site()
    kept: list[bytes] = []

    def hook(node: int, message: bytes, deliver: Callable[[bytes], bytes | None]) -> bytes | None:
        reply = deliver(message)
        if node != 2 or reply is None:
            return reply
        kept.append(reply)
        return kept[0]

    site.lines.hook = hook
    lost: list[tuple[str, str, str]] = []
    nodes = Nodes(
        carrier=site.lines,
        identity=site.server,
        directory=site.directory,
        run="run",
        lost=lambda *what: lost.append(what),
    )
    everybody = frozenset(site.config.client_names)
    nodes.find(everybody, b"no terms", patience=0.0, seconds=1.0)
    answers = nodes.ask(STEP, dict.fromkeys(everybody, bundle(())), seconds=1.0)
    assert sorted(answers) == ["client-1", "client-3", "client-4", "client-5"]
    assert [(name, cause) for name, _, cause in lost] == [
        ("client-2", "not accepted: answer of 'client-2': it belongs to another order")
    ]
