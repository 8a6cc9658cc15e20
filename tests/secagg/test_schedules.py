"""Random networks: whatever is dropped, delayed, doubled or corrupted, the sum is exact or the round fails cleanly."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import secagg
from tests.secagg.rounds import close, make_round

NAMES = tuple(f"c{i}" for i in range(9))
FATES = ("deliver",) * 12 + ("drop", "delay", "double", "flip", "truncate", "extend", "replay", "swap")


@dataclass
class Network:
    """An `exchange` whose every decision is drawn; remembers what it held back and what it has seen."""

    rng: np.random.Generator
    calm: float
    held: list[secagg.Envelope] = field(default_factory=list)
    seen: list[secagg.Envelope] = field(default_factory=list)

    def __call__(self, envelopes):
        out, self.held = list(self.held), []
        for envelope in envelopes:
            self.seen.append(envelope)
            fate = "deliver" if self.rng.random() < self.calm else FATES[self.rng.integers(len(FATES))]
            out.extend(self._fate(fate, envelope))
        order = self.rng.permutation(len(out))
        return tuple(out[i] for i in order)

    def _fate(self, fate, envelope):
        other = self.seen[self.rng.integers(len(self.seen))]
        if fate == "delay":
            self.held.append(envelope)
        arrives = {
            "deliver": [envelope],
            "double": [envelope, envelope],
            "flip": [replace(envelope, payload=self._flipped(envelope.payload))],
            "truncate": [replace(envelope, payload=envelope.payload[: self.rng.integers(len(envelope.payload) + 1)])],
            "extend": [replace(envelope, payload=envelope.payload + b"\0")],
            "replay": [envelope, other],
            "swap": [replace(envelope, payload=other.payload)],
        }
        return arrives.get(fate, [])

    def _flipped(self, payload):
        broken = bytearray(payload or b"\0")
        broken[self.rng.integers(len(broken))] ^= 1 << int(self.rng.integers(8))
        return bytes(broken)


def said_once(network):
    """Whatever was asked how often: no client ever says two things in one phase."""
    said = {}
    for envelope in network.seen:
        if envelope.sender != secagg.SERVER:
            assert said.setdefault((envelope.sender, envelope.phase), envelope.payload) == envelope.payload
    return True


def run(seed, malicious, calm):
    round_ = make_round(NAMES, dim=7, malicious=malicious, seed=seed)
    network = Network(rng=np.random.default_rng(seed), calm=calm)
    try:
        result = secagg.drive(round_.server, round_.clients, network)
    except secagg.RoundFailedError:
        assert said_once(network)
        return None
    assert said_once(network)
    assert len(result.survivors) >= 3
    assert close(result, round_.vectors)
    return result


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 0.9, 0.97]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_signed_rounds_are_exact_or_fail(seed, calm):
    run(seed, True, calm)


def test_both_outcomes_occur():
    results = [run(seed, True, 0.9) for seed in range(25)]
    assert any(result is None for result in results)
    assert any(result is not None for result in results)


@pytest.mark.slow
def test_five_hundred_schedules():
    for seed in range(500):
        run(seed, True, (0.3, 0.8, 0.95, 0.99)[seed % 4])


class Vanishing(Network):
    """Only drops and delays: what a curious plan, without signatures, has to survive."""

    def _fate(self, fate, envelope):
        return super()._fate(fate if fate in ("deliver", "drop", "delay", "double", "replay") else "drop", envelope)


@given(st.integers(0, 2**32), st.sampled_from([0.5, 0.9, 0.97]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_unsigned_rounds_are_exact_or_fail_when_messages_get_lost(seed, calm):
    round_ = make_round(NAMES, dim=7, malicious=False, seed=seed)
    try:
        result = secagg.drive(round_.server, round_.clients, Vanishing(rng=np.random.default_rng(seed), calm=calm))
    except secagg.RoundFailedError:
        return
    assert close(result, round_.vectors)
