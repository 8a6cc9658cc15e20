import numpy as np
import pytest

import secagg
from tests.secagg.rounds import NAMES, close

VECTORS = {name: np.linspace(-1, 1, 5) * (i + 1) / 8 for i, name in enumerate(NAMES)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vectors": {}}, "no vectors"),
        ({"weights": {"client-0": 1}}, "exactly the clients"),
        ({"drop": {"uplaod": {"client-0"}}}, "unknown phase 'uplaod'"),
        ({"drop": {"upload": {"mallory"}}}, "'mallory' is not one of the clients"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(secagg.PlanError, match=message):
        secagg.simulate(secagg.PlainSum(), **{"vectors": VECTORS, **arguments})


@pytest.mark.parametrize("protocol", [secagg.PlainSum(), secagg.MaskedSum(), secagg.MaskedSum(malicious_server=False)])
def test_without_a_seed_everything_is_random_and_the_result_the_same(protocol):
    one, two = (secagg.simulate(protocol, VECTORS) for _ in range(2))
    assert close(one, VECTORS)
    assert close(two, VECTORS)


@pytest.mark.parametrize("phase", ["confirm", "unmask"])
def test_drops_after_the_upload_do_not_remove_a_contribution(phase):
    for protocol in (secagg.PlainSum(), secagg.MaskedSum(), secagg.MaskedSum(malicious_server=False)):
        result = secagg.simulate(protocol, VECTORS, drop={phase: {"client-1"}}, seed=-3)
        assert "client-1" in result.survivors


def test_numpy_integers_are_weights():
    weights = {name: np.int64(i + 1) for i, name in enumerate(NAMES)}
    assert secagg.simulate(secagg.MaskedSum(), VECTORS, weights=weights, seed=1).total_weight == 36


def test_names_are_any_text():
    vectors = {f"krankenhaus-ü{i}": np.ones(2) * 0.1 for i in range(6)}
    assert close(secagg.simulate(secagg.MaskedSum(), vectors, seed=1), vectors)
