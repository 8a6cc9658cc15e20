from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fedpeft_secure.clients.randomness import Randomness, SecureRandomness, SeededRandomness
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.seeds import Seed

MakePlan = Callable[..., RoundPlan]


def seeded(client: str = "client-1", seed: int = 0) -> SeededRandomness:
    return SeededRandomness(seed=Seed(seed), client=client)


def noise(randomness: Randomness, plan: RoundPlan) -> NDArray[np.float64]:
    drawn: NDArray[np.float64] = randomness.noise(plan).draw((50,), 1.0).numpy()
    return drawn


def sample(randomness: Randomness, plan: RoundPlan) -> list[int]:
    drawn: list[int] = randomness.sampling(plan).draw(200, 0.5).tolist()
    return drawn


def rounding(randomness: Randomness, plan: RoundPlan) -> list[float]:
    drawn: list[float] = randomness.rounding(plan).random(20).tolist()
    return drawn


def keys(randomness: Randomness, plan: RoundPlan) -> bytes:
    return randomness.entropy(plan)(32)


def test_a_simulated_release_can_be_repeated(make_plan: MakePlan) -> None:
    plan = make_plan()
    assert keys(seeded(), plan) == keys(seeded(), plan)
    assert (noise(seeded(), plan) == noise(seeded(), plan)).all()
    assert sample(seeded(), plan) == sample(seeded(), plan)
    assert rounding(seeded(), plan) == rounding(seeded(), plan)


@pytest.mark.parametrize("change", [{"attempt": 1}, {"round": 2}])
def test_another_round_or_attempt_draws_everything_anew(change: dict[str, int], make_plan: MakePlan) -> None:
    one, two = make_plan(), make_plan(**change)
    assert not (noise(seeded(), one) == noise(seeded(), two)).any()
    assert sample(seeded(), one) != sample(seeded(), two)
    assert rounding(seeded(), one) != rounding(seeded(), two)
    assert keys(seeded(), one) != keys(seeded(), two)


def test_clients_draw_differently(make_plan: MakePlan) -> None:
    plan = make_plan()
    one, two = seeded("client-1"), seeded("client-2")
    assert not (noise(one, plan) == noise(two, plan)).any()
    assert sample(one, plan) != sample(two, plan)
    assert rounding(one, plan) != rounding(two, plan)
    assert keys(one, plan) != keys(two, plan)


def test_streams_are_never_shared_between_clients_rounds_and_attempts(make_plan: MakePlan) -> None:
    drawn = {
        tuple(noise(seeded(f"client-{client}"), make_plan(round=round_number, attempt=attempt))[:3])
        for client in range(1, 13)
        for round_number in range(1, 13)
        for attempt in range(3)
    }
    assert len(drawn) == 12 * 12 * 3


def test_sampling_noise_and_rounding_have_streams_of_their_own(make_plan: MakePlan) -> None:
    generator = seeded().rounding(make_plan())
    assert not (noise(seeded(), make_plan()) == generator.standard_normal(50)).any()


def test_another_seed_draws_differently(make_plan: MakePlan) -> None:
    assert not (noise(seeded(seed=0), make_plan()) == noise(seeded(seed=1), make_plan())).any()


def test_seeded_randomness_says_that_it_protects_nobody(make_plan: MakePlan) -> None:
    assert seeded().noise(make_plan()).label == "simulation"
    assert seeded().sampling(make_plan()).label == "simulation"
    assert seeded().shares(make_plan()).label == "simulation"


def test_secure_randomness_never_repeats(make_plan: MakePlan) -> None:
    secure, plan = SecureRandomness(), make_plan()
    assert {secure.noise(plan).label, secure.sampling(plan).label, secure.shares(plan).label} == {"secure"}
    assert not (secure.shares(plan).draw(50) == secure.shares(plan).draw(50)).any()
    assert not (noise(secure, plan) == noise(secure, plan)).any()
    assert sample(secure, plan) != sample(secure, plan)
    assert rounding(secure, plan) != rounding(secure, plan)
