import importlib.util
import re

import pytest

from fedpeft_secure.errors import ConfigError
from fedpeft_secure.events import Notice
from fedpeft_secure.preflight import check
from fedpeft_secure.protocols import check_protocol, decide_protocol, with_decided_protocol
from fedpeft_secure.server.federation import build_federation

AUTO = {"secure_sum.protocol": "auto"}


@pytest.mark.parametrize(
    ("overrides", "protocol", "reason"),
    [
        ({"secure_sum.protocol": "plain"}, "plain", "as configured"),
        (AUTO, "masked", "5 clients that stay .* bear a malicious server without a third party"),
        ({**AUTO, "secure_sum.server": "curious"}, "masked", "bear a curious server"),
        ({**AUTO, "secure_sum.clients_stay": False}, "helper", "clients speak once .* must not collude"),
        (
            {**AUTO, "clients.count": 3, "clients.per_round": 3},
            "helper",
            "masks do not work for this cohort: clients.per_round: .* holds against a malicious server",
        ),
    ],
)
def test_auto_decides_and_says_why(overrides, protocol, reason, tiny_config):
    config = tiny_config(overrides)
    decided, why = decide_protocol(config)
    assert decided == protocol
    assert re.search(reason, why)
    resolved, again = with_decided_protocol(config)
    assert (resolved.secure_sum.protocol, again) == (protocol, why)
    assert resolved.secure_sum.server == config.secure_sum.server
    check_protocol(config)


@pytest.mark.parametrize("protocol", ["bfv", "ckks"])
def test_homomorphic_sums_are_refused_to_a_server_that_may_lie(protocol, tiny_config):
    config = tiny_config()
    sums = config.secure_sum.model_copy(update={"protocol": protocol, "server": "malicious"})
    with pytest.raises(ConfigError, match=r"one forged ciphertext; set secure_sum.server = \"curious\""):
        check_protocol(config.model_copy(update={"secure_sum": sums}))


def test_without_a_graph_min_cohort_must_leave_two_honest_clients(tiny_config):
    config = tiny_config({"secure_sum.protocol": "helper"})
    sums = config.secure_sum.model_copy(update={"adversarial_fraction": 0.3})
    with pytest.raises(
        ConfigError, match=r"min_cohort: 3 leaves a sum of one beside 2 corrupt clients .* raise it to 4"
    ):
        check_protocol(config.model_copy(update={"secure_sum": sums}))


@pytest.mark.parametrize(
    ("ranks", "strategy", "refused"),
    [([1, 8], "rank_slots", True), ([1, 8], "product_sketch", False), ([], "fedit", False)],
)
def test_where_clients_fill_different_slots_min_cohort_must_leave_two_honest_ones(
    ranks, strategy, refused, tiny_config
):
    wide = {
        "clients.count": 24,
        "clients.per_round": 24,
        "privacy.epsilon": "inf",
        "peft.rank": 8,
        "training.server_optimizer": "sgd",
    }
    config = tiny_config(
        {**wide, "secure_sum.protocol": "masked", "aggregation.strategy": strategy, "allocation.ranks": ranks}
    )
    if not refused:
        check(config)
        return
    with pytest.raises(
        ConfigError, match=r"min_cohort: 3 leaves a sum of one beside 3 corrupt clients .* raise it to 5"
    ):
        check(config)
    check(config.model_copy(update={"secure_sum": config.secure_sum.model_copy(update={"min_cohort": 5})}))


def test_without_tenseal_the_helper_is_the_remedy(tiny_config, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tenseal" else found(name))
    config = tiny_config({"secure_sum.protocol": "bfv", "secure_sum.server": "curious"})
    with pytest.raises(
        ConfigError, match=r"'bfv' needs TenSEAL; `pip install fedpeft-secure\[he\]`, or use \"helper\""
    ):
        check_protocol(config)


def test_the_reason_is_told_and_kept(make_federation, tiny_config, tmp_path, monkeypatch):
    federation = make_federation({**AUTO, "secure_sum.clients_stay": False})
    assert federation.config.secure_sum.protocol == "helper"
    assert "clients speak once" in federation.protocol_reason
    assert federation.key_holder is not None
    assert make_federation().key_holder is None
    heard = []
    ledger = next(iter(federation.clients.values())).ledger
    build_federation(tiny_config(AUTO), run="run", ledger=ledger, ledger_path=tmp_path / "l", listen=heard.append)
    assert any(isinstance(event, Notice) and event.text.startswith("secure sum: masked, 5 clients") for event in heard)
