from collections.abc import Callable
from typing import Any

import pytest

from fedpeft_secure import Config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.preflight import check

MANY = {"clients.count": 1000, "clients.per_round": 1000, "secure_sum.min_cohort": 200}


def test_the_default_and_the_tiny_configuration_pass(tiny_config: Callable[..., Config]) -> None:
    check(Config())
    check(tiny_config())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"clients.per_round": 6}, "clients.per_round: 6 of 5 clients cannot take part; lower it or raise"),
        (
            {"clients.over_selection": 0.2},
            "clients.over_selection: 6 of 5 clients would be asked; lower it or clients.per_round",
        ),
        (
            {"clients.count": 20, "clients.per_round": 10, "clients.over_selection": 0.4},
            "clients.over_selection: 4 clients would be cut off, more than the sum bears to lose; lower it or raise",
        ),
        (
            {"training.proximal": 3.0, "training.learning_rate": 0.5},
            "training.proximal: 3 times training.learning_rate = 0.5 is above 1, .* lower one",
        ),
        ({"secure_sum.min_cohort": 6}, "secure_sum.min_cohort: a cohort of 5 .* never has 6 survivors; lower it"),
        ({"clients.count": 4, "clients.per_round": 4}, r"clients.per_round: .* the smallest cohort that works has 5"),
        ({"secure_sum.dropout_fraction": 0.6}, "clients.per_round: with the .* lower adversarial_fraction or"),
        ({"clients.count": 60}, "clients.per_round: .* 5 clients cannot bear 6 corrupt .*; enlarge the cohort"),
        (
            {"privacy.per_client": {"client-6": 1.0}},
            "privacy.per_client: no client 'client-6'; names run from client-1",
        ),
        ({"privacy.per_client": {"client-2": "inf"}}, "privacy.per_client: private and non-private clients cannot"),
        (
            {"privacy.epsilon": "inf", "privacy.per_client": {"client-1": {"noise_multiplier": 1.0}}},
            "privacy.per_client: private and non-private clients cannot",
        ),
        (
            {"privacy.per_client": {"client-1": {"noise_multiplier": 1.0, "epsilon": "inf"}}},
            'privacy.per_client: client-1 has a noise_multiplier and epsilon = "inf"; leave one of the two away',
        ),
        (
            {"privacy.groups": {"a": {"epsilon": 1, "share": 0.5}}},
            "privacy.groups: the shares of client-1's groups add up to 0.5; let them add up to 1",
        ),
        (
            {"privacy.groups": {"a": {"epsilon": 1, "share": 1}}, "privacy.per_client": {"client-2": 1.0}},
            "privacy.per_client: client-2 has groups with budgets of their own, which decide its noise; leave its eps",
        ),
        ({"data.budget_group": "consent"}, "data.budget_group: client-1 has no groups; name them and their budgets"),
        ({"privacy.epsilon": "inf", "privacy.per_client": {"client-1": 2.0}}, 'or set privacy.epsilon = "inf" for all'),
        ({"privacy.unit": "client", "secure_sum.protocol": "plain"}, 'secure_sum.protocol: "plain" .* use "masked"'),
        ({"privacy.relation": "replace_one"}, 'privacy.relation: .* use relation = "add_remove"'),
        ({"secure_sum.protocol": "ckks"}, 'secure_sum.protocol: .* lies recovers .* set secure_sum.server = "curious"'),
        ({"secure_sum.protocol": "bfv"}, "secure_sum.protocol: under 'bfv' a server that lies .* forged ciphertext"),
        ({"secure_sum.protocol": "helper", "secure_sum.min_cohort": 2}, "secure_sum.min_cohort: 2 .* raise it to 3"),
        ({"secure_sum.protocol": "helper", "clients.count": 60}, "min_cohort: 3 .* 6 corrupt .* raise it to 8"),
        (
            {"secure_sum.protocol": "auto", "secure_sum.clients_stay": False, "secure_sum.min_cohort": 2},
            "secure_sum.min_cohort: 2 leaves a sum of one",
        ),
        (
            {"secure_sum.protocol": "ckks", "secure_sum.server": "curious", "secure_sum.bits": 32, **MANY},
            'secure_sum.bits: no parameters at 128 bits .* or use protocol = "helper"',
        ),
        ({"allocation.round_seconds": 9.0}, 'allocation.devices: nothing looks at devices .* use "adaptive"'),
        ({"aggregation.strategy": "fedavgg"}, "aggregation.strategy: no strategy 'fedavgg'; there are auto, fedit"),
    ],
)
def test_what_cannot_run_is_refused_with_the_setting_and_the_remedy(
    overrides: dict[str, Any], message: str, tiny_config: Callable[..., Config]
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check(tiny_config(overrides))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        {"clients.count": 4, "clients.per_round": 4, "secure_sum.server": "curious"},
        {"clients.count": 2, "clients.per_round": 2, "secure_sum.protocol": "plain", "secure_sum.min_cohort": 2},
        {"privacy.epsilon": "inf"},
        {"privacy.per_client": {"client-5": 1.0}},
        {"privacy.per_client": {f"client-{index}": "inf" for index in range(1, 6)}},
        {"secure_sum.min_cohort": 5},
        {"clients.count": 12, "clients.per_round": 6},
        {"secure_sum.protocol": "helper"},
        {"secure_sum.protocol": "helper", "clients.count": 3, "clients.per_round": 3},
        {"secure_sum.protocol": "ckks", "secure_sum.server": "curious"},
        {"secure_sum.protocol": "bfv", "secure_sum.server": "curious", "secure_sum.bits": 32},
        {"secure_sum.protocol": "auto"},
        {"secure_sum.protocol": "auto", "clients.count": 3, "clients.per_round": 3},
    ],
)
def test_what_can_run_passes(overrides: dict[str, Any], tiny_config: Callable[..., Config]) -> None:
    check(tiny_config(overrides))
