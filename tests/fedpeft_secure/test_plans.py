import json
import math
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role
from fedpeft_secure.config import TrainingConfig
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.plans import RoundPlan, codec_clip, pack_request, unpack_request

SPEC = AdapterSpec(entries=(Entry(name="head.weight", shape=(2, 3), role=Role.HEAD, module="head"),))
STATE = AdapterState({"head.weight": np.arange(6).reshape(2, 3)})


@pytest.fixture
def plan(make_plan) -> RoundPlan:
    return make_plan(model_hash=STATE.digest().hex())


def test_a_request_survives_the_wire(plan: RoundPlan) -> None:
    again, state = unpack_request(pack_request(plan, STATE), SPEC)
    assert again == plan
    assert (state["head.weight"] == STATE["head.weight"]).all()


def test_another_model_than_the_announced_one_is_refused(plan: RoundPlan) -> None:
    crafted = STATE.replace({"head.weight": np.zeros((2, 3))})
    with pytest.raises(PolicyError, match="a model other than the one that its plan names"):
        unpack_request(pack_request(plan, crafted), SPEC)


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_no_tampered_byte_passes_unnoticed(position: int, flip: int, make_plan) -> None:
    plan = make_plan(model_hash=STATE.digest().hex())
    data = bytearray(pack_request(plan, STATE))
    data[position % len(data)] ^= flip
    try:
        again, state = unpack_request(bytes(data), SPEC)
    except PolicyError:
        return
    # What is read may be another plan, which clients compare with their own terms, but never another model.
    assert again.model_hash == plan.model_hash
    assert state.digest() == STATE.digest()


@given(st.binary(max_size=100))
def test_noise_is_no_request(data: bytes) -> None:
    with pytest.raises(PolicyError):
        unpack_request(data, SPEC)


def test_a_header_longer_than_the_message_is_refused(plan: RoundPlan) -> None:
    request = pack_request(plan, STATE)
    with pytest.raises(PolicyError, match="no valid round plan"):
        unpack_request(struct.pack(">I", 2**32 - 1) + request[4:], SPEC)


@pytest.mark.parametrize("tail", [b"", b"\0", b"garbage" * 10])
def test_a_broken_adapter_is_a_refused_request(tail: bytes, plan: RoundPlan) -> None:
    header = plan.model_dump_json().encode()
    with pytest.raises(PolicyError):
        unpack_request(struct.pack(">I", len(header)) + header + tail, SPEC)


def test_trailing_bytes_are_refused(plan: RoundPlan) -> None:
    with pytest.raises(PolicyError):
        unpack_request(pack_request(plan, STATE) + b"\0", SPEC)


@pytest.mark.parametrize(
    "change",
    [
        {"local_steps": 0},
        {"local_steps": "1"},
        {"nominal_batch": 0},
        {"sample_rate": 0.0},
        {"sample_rate": 1.5},
        {"learning_rate": -1.0},
        {"learning_rate": math.inf},
        {"learning_rate": math.nan},
        {"clip_norm": 0.0},
        {"clip_norm": math.inf},
        {"codec_clip": math.nan},
        {"codec_bits": 1},
        {"codec_bits": 33},
        {"round": -1},
        {"attempt": -1},
        {"cohort": []},
        {"optimizer": "adagrad"},
        {"run": ""},
        {"surprise": 1},
    ],
)
def test_an_impossible_plan_is_refused(change: dict[str, object], plan: RoundPlan) -> None:
    header = json.dumps({**json.loads(plan.model_dump_json()), **change}).encode()
    with pytest.raises(PolicyError, match="no valid round plan"):
        unpack_request(struct.pack(">I", len(header)) + header + STATE.to_bytes(), SPEC)


def test_weights_are_one_under_privacy_and_bounded_without(make_plan) -> None:
    assert make_plan(private=True).max_weight == 1
    assert make_plan(private=False, nominal_batch=10, sample_rate=0.3).max_weight == 4 * 34
    assert make_plan(private=False, nominal_batch=10, sample_rate=1.0).max_weight == 10


def training(**changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"nominal_batch": 4, "learning_rate": 0.5, **changes})


@given(
    seed=st.integers(0, 10_000),
    examples=st.integers(0, 4),
    steps=st.integers(1, 3),
    noise_multiplier=st.sampled_from([0.0, 0.5, 3.0]),
    clip_norm=st.sampled_from([0.1, 1.0, 7.0]),
    spread=st.booleans(),
)
def test_an_sgd_update_stays_within_the_codec(  # noqa: PLR0917 - hypothesis calls by name
    seed: int, examples: int, steps: int, noise_multiplier: float, clip_norm: float, spread: bool
) -> None:
    """Worst case: every example's clipped gradient points along the same coordinate, and noise adds six deviations."""
    options = training(local_steps=steps)
    bound = codec_clip(options, clip_norm=clip_norm, noise_multiplier=noise_multiplier)
    rng = np.random.default_rng(seed)
    update = np.zeros(3)
    for _ in range(steps):
        gradients = rng.standard_normal((examples, 3)) if spread else np.tile([1.0, 0, 0], (examples, 1))
        norms = np.linalg.norm(gradients, axis=1, keepdims=True)
        summed = (gradients / norms * clip_norm).sum(axis=0)
        noise = np.clip(rng.standard_normal(3), -6, 6) if spread else np.full(3, 6.0)
        noised = summed + noise * noise_multiplier * clip_norm
        update -= options.learning_rate * noised / options.nominal_batch
    assert np.abs(update).max() <= bound * (1 + 1e-9)


def test_the_sgd_bound_is_reached_so_no_smaller_one_would_do() -> None:
    options = training(local_steps=2)
    worst = 2 * 0.5 * (4 * 1.0 + 6 * 0.5 * 1.0) / 4
    assert codec_clip(options, clip_norm=1.0, noise_multiplier=0.5) == pytest.approx(worst)


@given(
    gradients=st.lists(st.one_of(st.floats(-1e3, 1e3), st.floats(-1e-6, 1e-6), st.just(0.0)), min_size=1, max_size=60)
)
def test_an_adamw_update_stays_within_the_codec(gradients: list[float]) -> None:
    options = training(optimizer="adamw", local_steps=len(gradients))
    assert abs(adamw_update(gradients, options.learning_rate)) <= codec_clip(
        options, clip_norm=1.0, noise_multiplier=9.0
    )


@pytest.mark.parametrize("steps", [1, 10, 60, 200])
def test_exponentially_growing_gradients_are_adamws_worst_case(steps: int) -> None:
    """By Cauchy-Schwarz no sequence moves the last step further than one that grows by β₂/β₁ a step."""
    growing = [(0.999 / 0.9) ** (step - steps) for step in range(steps)]
    options = training(optimizer="adamw", local_steps=steps)
    bound = codec_clip(options, clip_norm=1.0, noise_multiplier=0.0)
    assert abs(adamw_update(growing, options.learning_rate)) <= bound


def adamw_update(gradients: list[float], learning_rate: float) -> float:
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.AdamW([parameter], lr=learning_rate, weight_decay=0.0)
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return float(parameter.detach())


def test_other_noise_of_other_clients_decides_the_range() -> None:
    small, large = (codec_clip(training(), clip_norm=1.0, noise_multiplier=sigma) for sigma in (0.5, 2.0))
    assert small < large


def test_a_plan_cannot_be_changed(plan: RoundPlan) -> None:
    with pytest.raises(ValueError, match="frozen"):
        plan.private = False  # type: ignore[misc]
    with pytest.raises(TypeError):
        replace(plan, private=False)  # type: ignore[type-var]


def test_the_norm_bound_holds_what_an_honest_client_can_send(plan: RoundPlan) -> None:
    rng = np.random.default_rng(0)
    dim, gradients = 400, np.zeros((40, 400))
    gradients[:, 0] = 1  # four nominal batches of ten, all clipped to one and all alike
    for noise_multiplier in (0.5, 3.0):
        noisy = plan.model_copy(update={"noise_multiplier": noise_multiplier})
        sent = (gradients.sum(axis=0) + rng.normal(0, noise_multiplier, (500, dim))) / plan.nominal_batch
        norms = np.linalg.norm(sent, axis=1)
        assert norms.max() <= noisy.max_norm(dim)
        assert noisy.max_norm(dim) < 1.6 * norms.mean(), "a bound that is far away catches nobody"


def test_the_norm_bound_without_privacy_is_the_clip_norm(plan: RoundPlan) -> None:
    plain = plan.model_copy(update={"private": False, "noise_multiplier": 0.0, "clip_norm": 0.5, "local_steps": 3})
    assert plain.max_norm(400) == pytest.approx(3 * 0.5, rel=2e-5)


def test_the_norm_bound_of_adamw_is_that_of_its_coordinates(plan: RoundPlan) -> None:
    adamw = plan.model_copy(update={"optimizer": "adamw", "learning_rate": 0.1})
    assert adamw.max_norm(100) == pytest.approx(0.32 * 10)


def test_the_norm_of_a_sum_is_bounded_for_the_client_whose_own_terms_allow_the_most(make_plan) -> None:
    """The sums of all clients are checked with one bound: a client with own terms must never exceed it."""
    own = {"client": "client-2", "sample_rate": 0.125, "clip_norm": 3.0, "nominal_batch": 5.0}
    plan = make_plan(noise_multiplier=2.0, own_terms=(own,))
    assert (
        plan.max_norm(100) == plan.for_client("client-2").max_norm(100) > make_plan(noise_multiplier=2.0).max_norm(100)
    )
    # Everybody may be in the group that enters four times as often as the whole.
    grouped = make_plan(
        noise_multiplier=2.0, groups=({"name": "a", "sample_rate": 1.0}, {"name": "b", "sample_rate": 0.1})
    )
    assert grouped.max_norm(100) - make_plan(noise_multiplier=2.0).max_norm(100) == pytest.approx(4 * 4 - 4)


def test_two_sets_of_terms_for_one_client_are_refused(make_plan):
    quiet = {"client": "client-2", "sample_rate": 0.1, "clip_norm": 0.5, "nominal_batch": 4.0}
    plan = make_plan(own_terms=(quiet, {**quiet, "sample_rate": 1.0}))
    with pytest.raises(PolicyError, match="client-2 refuses round 1: the plan gives it terms twice"):
        plan.for_client("client-2")
    assert plan.for_client("client-1").sample_rate == plan.sample_rate
