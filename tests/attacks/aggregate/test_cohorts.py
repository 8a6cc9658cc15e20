"""Differencing, disaggregation and linkability through our own masked sums: what works, and what stops it."""

import numpy as np
import pytest

import secagg
from attacks import AttackError
from attacks.aggregate import cosine, disaggregate, disaggregation_score, link, subtract_known
from tests.secagg.rounds import make_round

DIM, CLIENTS = 200, 6
NAMES = tuple(f"client-{index}" for index in range(CLIENTS))


def masked_total(vectors: dict[str, np.ndarray], *, seed: int) -> np.ndarray:
    protocol = secagg.MaskedSum(codec=secagg.FixedPoint(clip=8.0, bits=20))
    return secagg.simulate(protocol, vectors, seed=seed).mean * len(vectors)


def updates(rng: np.random.Generator) -> np.ndarray:
    """One fixed direction a client, all of length one; shape (clients, dim)."""
    found = rng.normal(size=(CLIENTS, DIM))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize(("noise", "low", "high"), [(0.0, 0.999, 1.0), (0.5, -0.1, 0.35)])
def test_all_but_one_colluding_read_the_last_one_up_to_its_noise(noise: float, low: float, high: float) -> None:
    """No sum prevents it; noise of half a clip norm on a coordinate does (its norm is 7 here, the update's is 1)."""
    rng = np.random.default_rng(0)
    truth = updates(rng)
    sent = truth + noise * rng.normal(size=truth.shape)
    total = masked_total(dict(zip(NAMES, sent, strict=True)), seed=1)
    found = subtract_known(total, dict(zip(NAMES[1:], sent[1:], strict=True)))
    assert low <= cosine(found, truth[0]) <= high
    assert abs(cosine(found, truth[1])) < 0.25, "the null control: somebody else's"
    assert cosine(np.zeros(3), np.ones(3)) == 0.0
    with pytest.raises(AttackError):
        subtract_known(total, {"client-1": total[:3]})


def played(truth: np.ndarray, participation: np.ndarray, *, noise: float) -> np.ndarray:
    rng = np.random.default_rng(5)
    sums = []
    for number, present in enumerate(participation):
        sent = {NAMES[index]: truth[index] + noise * rng.normal(size=DIM) for index in np.flatnonzero(present)}
        sums.append(masked_total(sent, seed=number))
    return np.stack(sums)


def some_of_them(rng: np.random.Generator, rounds: int) -> np.ndarray:
    found = np.zeros((rounds, CLIENTS), dtype=bool)
    for row in found:
        row[rng.permutation(CLIENTS)[:5]] = True
    return found


@pytest.mark.parametrize(("noise", "low", "high"), [(0.0, 0.99, 1.0), (0.5, -0.1, 0.6)])
def test_changing_cohorts_and_constant_updates_are_disaggregated(noise: float, low: float, high: float) -> None:
    rng = np.random.default_rng(2)
    truth, participation = updates(rng), some_of_them(rng, 24)
    found, null = disaggregation_score(disaggregate(played(truth, participation, noise=noise), participation), truth)
    assert low <= found <= high
    assert abs(null) < 0.35


def test_the_same_cohort_in_every_round_gives_nothing_away() -> None:
    """The default, `clients.per_round = clients.count`: all equations are one."""
    truth = updates(np.random.default_rng(3))
    everybody = np.ones((24, CLIENTS), dtype=bool)
    found, null = disaggregation_score(disaggregate(played(truth, everybody, noise=0.0), everybody), truth)
    assert abs(found) < 0.05
    assert abs(null) < 0.05
    with pytest.raises(AttackError):
        disaggregate(np.zeros((3, 4)), np.ones((2, 5)))


def test_plain_messages_are_linked_and_masked_ones_are_not() -> None:
    """Own data makes a client's messages alike from round to round; masks make them uniform and independent."""
    rng = np.random.default_rng(4)
    truth = updates(rng)
    first, second = (truth + 0.02 * rng.normal(size=truth.shape) for _ in range(2))
    order = rng.permutation(CLIENTS)
    assert (order[link(first, second[order])] == np.arange(CLIENTS)).all()
    right = 0
    for trial in range(20):
        uploads = []
        for attempt in range(2):
            round_ = make_round(seed=2 * trial + attempt, dim=DIM)
            round_.requests("confirm")
            sent = [round_.transcript.between(sender=name, phase="upload")[0] for name in round_.plan.clients]
            uploads.append(np.stack([round_.plan.layout.unpack(e.payload[:-64])[0].astype(float) for e in sent]))
        right += int((link(uploads[0], uploads[1]) == np.arange(8)).sum())
    assert right / 160 == pytest.approx(1 / 8, abs=0.08)
    with pytest.raises(AttackError):
        link(first, second[:3])
