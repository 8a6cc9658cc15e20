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


def test_a_round_without_drops_is_plain_data():
    cost = measure(clients=6, dim=3, dropout=0.0, server="curious", bits=20)
    assert cost.dropped == 0
    assert dataclasses.asdict(cost)["clients"] == 6


@pytest.mark.parametrize(
    "bad", [{"server": "friendly"}, {"dropout": 1.0}, {"dropout": -0.1}, {"dim": 0}, {"clients": 2}, {"bits": 1}]
)
def test_bad_arguments(bad):
    with pytest.raises(secagg.ProtocolError):
        measure(**{"clients": 6, "dim": 3, "dropout": 0.0, "server": "curious", "bits": 16, **bad})
