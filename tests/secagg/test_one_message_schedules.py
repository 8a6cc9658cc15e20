"""Random networks for the sums in one message: whatever is lost, doubled or broken, a sum is exact or there is none."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import secagg
from tests.secagg.one_message import PROTOCOLS, close, make
from tests.secagg.test_schedules import Network, said_once


def run(protocol, seed, calm):
    round_ = make(protocol, seed=seed)
    network = Network(rng=np.random.default_rng(seed), calm=calm)
    try:
        result = secagg.drive(round_.server, round_.clients, network, key_holder=round_.key_holder)
    except secagg.RoundFailedError:
        assert said_once(network)
        return None
    assert said_once(network)
    assert len(result.survivors) >= 3
    assert close(result, round_.vectors)
    return result


@given(st.sampled_from(PROTOCOLS), st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 0.9, 0.97]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_rounds_are_exact_or_fail(protocol, seed, calm):
    run(protocol, seed, calm)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.label)
def test_both_outcomes_occur(protocol):
    results = [run(protocol, seed, 0.8) for seed in range(16)]
    assert any(result is None for result in results)
    assert any(result is not None and len(result.survivors) < 6 for result in results)


@pytest.mark.slow
def test_five_hundred_schedules():
    for seed in range(500):
        run(PROTOCOLS[seed % 3], seed, (0.3, 0.8, 0.95, 0.99)[seed % 4])
