import dataclasses
import itertools

import pytest

import secagg
from secagg.bench import measure


@pytest.mark.parametrize("server", ["curious", "malicious"])
def test_a_measured_round(server):
    ticks = itertools.count()
    cost = measure(clients=20, dim=500, dropout=0.1, server=server, bits=16, clock=lambda: float(next(ticks)))
    assert (cost.clients, cost.dim, cost.dropped, cost.server, cost.bits) == (20, 500, 2, server, 16)
    plan = secagg.plan_graph(20, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=server == "malicious")
    assert (cost.degree, cost.threshold) == (plan.degree, plan.threshold)
    phases = ["advertise", "share", "upload", "confirm", "unmask"]
    if server == "curious":
        phases.remove("confirm")
    assert list(cost.server_seconds) == phases
    assert list(cost.client_seconds) == ["encode", *phases]
    assert all(value == 1.0 for value in cost.server_seconds.values())  # every step is timed once, by the given clock
    assert cost.client_seconds_total == len(phases) + 1
    everybody = (
        18 * (len(phases) + 1) + 2 * 4 + len(phases)
    )  # those who vanish had encoded, advertised, shared, uploaded
    assert cost.seconds == everybody
    assert 0 < cost.max_error < 1e-4
    assert 500 * 2 < cost.upload_bytes < 500 * 4 + 20 * 300
    assert cost.download_bytes > 20 * 96


@pytest.mark.parametrize("protocol", ["helper", "bfv", "ckks"])
def test_a_measured_round_in_one_message(protocol):
    ticks = itertools.count()
    cost = measure(
        clients=20,
        dim=500,
        dropout=0.1,
        server="curious",
        bits=16,
        protocol=protocol,
        clock=lambda: float(next(ticks)),
    )
    assert (cost.protocol, cost.clients, cost.dropped, cost.degree, cost.threshold) == (protocol, 20, 2, None, None)
    assert cost.client_seconds == {"encode": 1.0, "upload": 1.0}
    assert cost.server_seconds == {"announce": 1.0, "upload": 1.0, "open": 1.0}
    assert cost.key_holder_seconds == {"announce": 1.0, "open": 1.0}
    assert (cost.server_seconds_total, cost.key_holder_seconds_total, cost.seconds) == (3.0, 2.0, 20 * 2 + 3 + 2)
    assert 0 < cost.max_error < 1e-4
    names = tuple(f"client-{index:06}" for index in range(20))
    sums = secagg.ONE_MESSAGE[protocol]()
    scheme = sums.scheme(sums.plan(clients=names, dim=500, directory=secagg.Cohort.with_key_holder(names).directory))
    envelope = 4 + 1 + len("server") + 1 + len(names[0]) + 1 + len("upload") + 4
    assert cost.upload_bytes == envelope + scheme.body_bytes + scheme.capsule_bytes + 64
    assert cost.download_bytes == envelope + scheme.public_bytes + 64


def test_a_masked_round_has_no_key_holder():
    cost = measure(clients=6, dim=3, dropout=0.0, server="curious", bits=16)
    assert (cost.protocol, cost.key_holder_seconds, cost.key_holder_seconds_total) == ("masked", {}, 0)


def test_the_helper_is_measured_with_a_server_that_may_lie_and_the_others_are_not():
    assert measure(clients=5, dim=3, dropout=0.0, server="malicious", bits=16, protocol="helper").server == "malicious"
    for protocol in ("bfv", "ckks"):
        with pytest.raises(secagg.PlanError, match=f"the {protocol} sum does not bear a server that lies"):
            measure(clients=5, dim=3, dropout=0.0, server="malicious", bits=16, protocol=protocol)


def test_a_round_without_drops_is_plain_data():
    cost = measure(clients=6, dim=3, dropout=0.0, server="curious", bits=20)
    assert cost.dropped == 0
    assert dataclasses.asdict(cost)["clients"] == 6


@pytest.mark.parametrize(
    "bad",
    [
        {"server": "friendly"},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"dim": 0},
        {"clients": 2},
        {"bits": 1},
        {"protocol": "plain"},
    ],
)
def test_bad_arguments(bad):
    with pytest.raises(secagg.ProtocolError):
        measure(**{"clients": 6, "dim": 3, "dropout": 0.0, "server": "curious", "bits": 16, **bad})
