import math

import pytest

from evaluations.recommend.wishes import make_wishes, parse_leak_limits
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.errors import InputError


def test_ceilings_are_excesses_or_of_one_metric() -> None:
    assert parse_leak_limits(["0.05", "membership.AUC=0.55", "membership.TPR at 1 % FPR=0.02"]) == (
        0.05,
        {("membership", "AUC"): 0.55, ("membership", "TPR at 1 % FPR"): 0.02},
    )
    assert parse_leak_limits([]) == (None, {})


@pytest.mark.parametrize("text", ["much", "membership=0.5", "membership.AUC=much", ".AUC=0.5", "inf", ""])
def test_what_is_no_ceiling_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"--max-leakage .*such as membership\.AUC=0\.55"):
        parse_leak_limits([text])


@pytest.mark.parametrize("floor", [-0.1, 72.0, math.nan])
def test_a_floor_is_a_share(floor: float) -> None:
    with pytest.raises(InputError, match="--min-accuracy"):
        make_wishes(None, min_accuracy=floor)


def test_every_clients_own_wishes_come_from_the_configuration() -> None:
    base = parse_config(
        {
            "privacy": {"epsilon": 6.0, "per_client": {"client-2": 2.0}},
            "allocation": {
                "strategy": "adaptive",
                "round_seconds": 20,
                "devices": {"phone": {"memory_mib": 512, "gflops": 30, "share": 1}},
            },
        }
    )
    wishes = make_wishes(base, max_epsilon=4.0)
    assert (wishes.epsilon_of("client-1"), wishes.epsilon_of("client-2"), wishes.epsilon_of("nobody")) == (4, 2, 4)
    assert set(wishes.devices) == set(base.client_names)
    assert wishes.devices["client-1"].memory_bytes == 512 * 2**20
    assert wishes.round_seconds == 20


def test_without_a_configuration_nobody_has_wishes_of_its_own() -> None:
    wishes = make_wishes(None, max_upload_kib=10)
    assert (wishes.epsilons, wishes.devices, wishes.max_upload_bytes) == ({}, {}, 10240)
