from typing import Any

import pytest

from fedpeft_secure import Config
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.preflight import check
from fedpeft_secure.protocols import decide_protocol, smallest_sum, sum_sizes, too_few


def make(**tables: dict[str, Any]) -> Config:
    """12 clients in three groups of four, which a curious server's masked sums bear."""
    given: dict[str, dict[str, Any]] = {
        "clients": {"count": 12, "per_round": 12},
        "aggregation": {"groups": 3, "robust": "median", "strategy": "fedit"},
        "secure_sum": {"server": "curious", "adversarial_fraction": 0.05},
    }
    return parse_config({name: {**given.get(name, {}), **tables.get(name, {})} for name in {**given, **tables}})


def test_groups_that_are_large_enough_pass() -> None:
    check(make())
    check(make(aggregation={"robust": "trimmed_mean", "strategy": "fedsvd"}))
    check(make(secure_sum={"protocol": "plain"}, aggregation={"groups": 4}))
    check(make(secure_sum={"protocol": "helper", "server": "malicious"}, aggregation={"groups": 4}))
    check(make(clients={"count": 15, "per_round": 15}, secure_sum={"server": "malicious"}))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"aggregation": {"robust": "off"}}, "aggregation.groups: 3 groups' sums reveal more .*robust = \"median\""),
        ({"aggregation": {"trimmed_share": 0.3}}, "aggregation.trimmed_share: nothing is trimmed .* 'median'; .* away"),
        ({"aggregation": {"groups": 1, "robust": "off", "trimmed_share": 0.3}}, "nothing is trimmed .* = 'off'"),
        ({"aggregation": {"groups": 2}}, "aggregation.groups: 2 is too few for aggregation.robust = 'median'"),
        ({"aggregation": {"groups": 1}}, "aggregation.groups: 1 is too few .* set it to 3 or more"),
        ({"aggregation": {"groups": 5}}, "aggregation.groups: 12 clients .* leave 2 in the smallest, .* to 15 or more, "
         "or use at most 4 groups"),
        ({"clients": {"per_round": 8}}, "8 clients .* leave 2 .* to 9 or more, or set groups = 1 and .*\"off\""),
        ({"secure_sum": {"server": "malicious"}}, "clients.per_round: .* has 5 clients; .* in each of the 3 aggr"),
        ({"secure_sum": {"protocol": "bfv"}}, "aggregation.groups: 'bfv' has one sum a round here; .* or helper"),
        ({"privacy": {"unit": "client", "epsilon": 8.0}}, "aggregation.groups: the noise of whole clients"),
        ({"aggregation": {"strategy": "product_sketch"}, "training": {"server_optimizer": "sgd",
          "server_learning_rate": 1.0}}, "aggregation.groups: .* 'product_sketch' sums something else"),
        ({"aggregation": {"strategy": "fedask"}, "training": {"server_optimizer": "sgd",
          "server_learning_rate": 1.0}}, "aggregation.groups: .* 'fedask' sums something"),
        ({"training": {"control_variates": True}}, "aggregation.groups: .* without control variates"),
        ({"aggregation": {"strategy": "fedsvd"}, "allocation": {"ranks": [8, 8, 8, 4]}}, "different parts"),
        ({"clients": {"count": 20, "over_selection": 0.1}, "secure_sum": {"dropout_fraction": 0.2, "protocol": "plain"
          }}, "aggregation.groups: the slowest that clients.over_selection cuts off"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_right_is_refused(tables: dict[str, dict[str, Any]], message: str) -> None:
    if tables.get("secure_sum", {}).get("protocol") == "bfv":
        pytest.importorskip("tenseal")
    with pytest.raises(ConfigError, match=message) as caught:
        check(make(**tables))
    assert "\n" not in str(caught.value)


def test_auto_counts_the_clients_of_a_group() -> None:
    assert decide_protocol(make(secure_sum={"protocol": "auto"}))[0] == "masked"
    lying = make(secure_sum={"protocol": "auto", "server": "malicious"})
    assert decide_protocol(lying)[0] == "helper", "four clients bear no lying server by masks"


def test_a_cohort_that_shrinks_ends_when_its_smallest_group_is_too_small() -> None:
    config = make(secure_sum={"protocol": "plain"})
    assert (smallest_sum(config, 12), smallest_sum(config, 11)) == (4, 3)
    assert too_few(config, 9) == ""
    assert too_few(config, 8) == "the 2 of a group of 8 clients in 3 are fewer than secure_sum.min_cohort = 3"
    assert "cohort" in too_few(make(), 11)


def test_every_size_of_group_must_bear_its_dropouts_and_not_only_the_smallest() -> None:
    """Dropouts are rounded up: masks of ten clients bear two of them, where those of eleven must bear three."""
    sums = {"server": "malicious", "adversarial_fraction": 0.1, "dropout_fraction": 0.2, "protocol": "masked"}
    config = make(clients={"count": 31, "per_round": 31}, secure_sum=sums)
    assert (sum_sizes(config, 30), sum_sizes(config, 31), sum_sizes(config, 32)) == ((10,), (10, 11), (10, 11))
    assert too_few(config, 30) == ""
    assert "11 clients cannot bear 4 corrupt and 3 vanishing ones" in too_few(config, 31)
    with pytest.raises(ConfigError, match=r"clients\.per_round: .* 11 clients cannot bear .* use fewer groups"):
        check(config)
