from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr
from torch import Tensor

import dp.noise
import secagg
from attacks import AttackError
from attacks.audit.canary_clients import play_canary_clients
from attacks.membership import separation
from fedpeft_secure.errors import ConfigError
from tests.attacks.audit.conftest import OpenFederation

CLIENT = {"privacy.unit": "client", "privacy.epsilon": 100.0, "training.sample_rate": 0.25}


@pytest.mark.parametrize("mechanism", ["distributed_discrete_gaussian", "central"])
def test_canaries_come_through_the_masked_sum_at_their_size(federation: OpenFederation, mechanism: str) -> None:
    parties = federation({**CLIENT, "privacy.mechanism": mechanism})
    played = play_canary_clients(parties, count=100)
    error = 4 * played.noise / np.sqrt(played.included.sum())
    assert played.values.shape == (100,)
    assert played.values[played.included].mean() == pytest.approx(1.0, abs=error + 0.03)
    assert played.values[~played.included].mean() == pytest.approx(0.0, abs=error)
    # shares of all five clients are in the sum, the ledger counts on the guaranteed honest ones
    assert played.noise >= parties.budgets[0].noise_multiplier * 0.95
    assert (played.sent, played.charged) == (100, 100)
    assert played.spent.unit == "client"
    assert 0 < played.spent.epsilon < 100
    assert parties.ledger.head().count == 0, "the run's own ledger is untouched"


def test_a_sum_without_noise_is_found_out(federation: OpenFederation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error for want of something to divide by: the scores say which canaries were in."""

    class Silence(dp.noise.SeededGaussian):
        def draw(self, shape: Sequence[int], stddev: float) -> Tensor:
            return 0 * super().draw(shape, stddev)

    monkeypatch.setattr(dp.noise, "SeededGaussian", Silence)
    parties = federation({**CLIENT, "privacy.mechanism": "central"})
    scored = play_canary_clients(parties, count=10).scored
    assert np.isfinite(scored.scores).all()
    assert ((scored.scores > 0) == scored.included).all()


def test_examples_have_no_canary_clients(federation: OpenFederation) -> None:
    with pytest.raises(ConfigError, match=r"privacy\.unit"):
        play_canary_clients(federation(), count=10)


def test_a_failed_sum_is_an_error(federation: OpenFederation) -> None:
    parties = federation(CLIENT)
    for client in parties.clients.values():
        client.budget = replace(client.budget, epsilon=1e-3)
    with pytest.raises(AttackError, match="round 1 of the audit"):
        play_canary_clients(parties, count=5)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_the_auc_through_masked_sums_is_the_one_of_theory(sigma: float) -> None:
    """4,000 canaries a side, eight clients a sum, noise of the given size on the sum: AUC = Φ(1 / (σ√2))."""
    rng, clients, dim = np.random.default_rng(0), 8, 64
    gaussian = dp.noise.SeededGaussian(rng)
    protocol = secagg.MaskedSum(codec=secagg.FixedPoint(clip=1.0, bits=16))
    inside, outside = [], []
    for trial in range(500):
        directions = np.linalg.qr(rng.normal(size=(dim, 2 * clients)))[0].T
        vectors = {f"client-{index}": directions[index] for index in range(clients)}
        total = secagg.simulate(protocol, vectors, seed=trial).mean * clients
        scores = directions @ (total + gaussian.draw((dim,), sigma).numpy())
        inside.append(scores[:clients])
        outside.append(scores[clients:])
    found = separation(np.concatenate(inside), np.concatenate(outside))
    assert found.auc == pytest.approx(ndtr(1 / (sigma * 2**0.5)), abs=0.02)
