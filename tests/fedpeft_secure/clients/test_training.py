from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dp.oracle import per_example_gradients
from dp.sampling import SeededPoisson
from fedpeft_secure import methods
from fedpeft_secure.adapters import AdapterState, Role
from fedpeft_secure.allocation.allotment import Allotment, first_slots, masked
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Batch, Examples, physical_batches
from fedpeft_secure.clients.training import LocalTask, LocalUpdate, draw_sample, train_locally
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.plans import RoundPlan

CPU = torch.device("cpu")
CHOSEN = [0, 2, 3, 7, 8]
Flat = dict[str, NDArray[np.float64]]


class KnownNoise:
    """Gaussian noise that the test can take out again."""

    label = "simulation"

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.drawn: list[Tensor] = []
        self.stddevs: set[float] = set()

    def draw(self, shape: Sequence[int], stddev: float) -> Tensor:
        self.stddevs.add(stddev)
        self.drawn.append(torch.from_numpy(np.asarray(self.rng.standard_normal(tuple(shape)) * stddev)))
        return self.drawn[-1]


@pytest.fixture
def task(backbone: Backbone, make_plan: Callable[..., RoundPlan], fixed_sample) -> Callable[..., LocalTask]:
    """Makes a task; keywords named like the plan's fields change the plan."""

    def make(
        *,
        samples: Sequence[list[int]] = (CHOSEN,),
        noise_multiplier: float = 0.7,
        physical_batch: int = 4,
        **plan: object,
    ) -> LocalTask:
        return LocalTask(
            plan=make_plan(**{"learning_rate": 0.5, "clip_norm": 0.3, "nominal_batch": 6, **plan}),
            trained=backbone.spec,
            noise_multiplier=noise_multiplier,
            sampling=fixed_sample(*samples),
            noise=KnownNoise(),
            physical_batch=physical_batch,
        )

    return make


def oracle(backbone: Backbone, state: AdapterState, examples: Examples, chosen: list[int]) -> dict[str, Tensor]:
    """Gradients of the chosen examples, one at a time: name → (examples, *shape)."""
    backbone.load(state)
    methods.train_only(backbone.model, backbone.spec)

    def one_by_one(_: object) -> list[Batch]:
        return [
            batch
            for index in chosen
            for batch in physical_batches(examples, np.array([index]), batch_size=1, device=CPU)
        ]

    rows = per_example_gradients(backbone.model, None, backbone.losses, split=one_by_one)
    return {methods.public_name(name): value for name, value in rows.items()}


def clipped_sum(rows: dict[str, Tensor], clip_norm: float) -> Flat:
    """Σ g·min(1, C/‖g‖), the norm being over all tensors of an example together."""
    squares = sum(value.double().flatten(1).square().sum(dim=1) for value in rows.values())
    factors = torch.clamp(clip_norm / torch.sqrt(torch.as_tensor(squares)), max=1.0)
    return {name: torch.tensordot(factors, value.double(), dims=1).numpy() for name, value in rows.items()}


def assert_close(found: dict[str, NDArray[np.float32]], expected: Flat, atol: float = 2e-6) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert np.allclose(found[name], value, atol=atol), name


def names_in_model_order(backbone: Backbone) -> list[str]:
    return [methods.public_name(name) for name, value in backbone.model.named_parameters() if value.requires_grad]


def drawn_noise(backbone: Backbone, local_task: LocalTask, step: int = 0) -> Flat:
    names = names_in_model_order(backbone)
    drawn = local_task.noise.drawn[step * len(names) : (step + 1) * len(names)]  # type: ignore[attr-defined]
    return {name: value.numpy() for name, value in zip(names, drawn, strict=True)}


def test_a_private_update_is_the_clipped_sum_and_the_noise_exactly(
    backbone: Backbone, state: AdapterState, examples: Examples, task
) -> None:
    local_task = task()
    found = train_locally(backbone, state, examples, local_task)
    noise = drawn_noise(backbone, local_task)
    rows = oracle(backbone, state, examples, CHOSEN)
    norms = torch.stack([value.flatten(1).square().sum(dim=1) for value in rows.values()]).sum(dim=0).sqrt()
    assert (norms > 0.3).any(), "something is clipped"
    clipped = clipped_sum(rows, 0.3)
    assert_close(found.delta, {name: -0.5 * (clipped[name] + noise[name]) / 6 for name in clipped})
    assert local_task.noise.stddevs == {0.7 * 0.3}


def test_noise_is_drawn_once_a_tensor_and_step(
    backbone: Backbone, state: AdapterState, examples: Examples, task
) -> None:
    local_task = task(samples=[CHOSEN, [1]], local_steps=2)
    train_locally(backbone, state, examples, local_task)
    assert [tuple(value.shape) for value in local_task.noise.drawn] == 2 * [
        dict(zip(backbone.spec.names, (entry.shape for entry in backbone.spec.entries), strict=True))[name]
        for name in names_in_model_order(backbone)
    ]


def test_how_the_sample_is_cut_changes_nothing(
    backbone: Backbone, state: AdapterState, examples: Examples, task
) -> None:
    one, two = (train_locally(backbone, state, examples, task(physical_batch=size)).delta for size in (1, 5))
    assert_close(one, {name: value.astype(np.float64) for name, value in two.items()})


def test_an_empty_sample_still_sends_noise(backbone: Backbone, state: AdapterState, examples: Examples, task) -> None:
    local_task = task(samples=[[]])
    found = train_locally(backbone, state, examples, local_task)
    assert_close(found.delta, {name: -0.5 * value / 6 for name, value in drawn_noise(backbone, local_task).items()})
    assert all(value.any() for value in found.delta.values())
    assert found.examples == 0


def test_only_the_sampled_examples_matter_never_how_many_there_are(
    backbone: Backbone, state: AdapterState, examples: Examples, task
) -> None:
    """The divisor is public: an update must not tell how many examples a client holds."""
    few = Examples(
        token_ids=tuple(examples.token_ids[index] for index in CHOSEN),
        labels=examples.labels[CHOSEN],
        padding_id=examples.padding_id,
    )
    one = train_locally(backbone, state, examples, task()).delta
    two = train_locally(backbone, state, few, task(samples=[[0, 1, 2, 3, 4]])).delta
    assert_close(one, {name: value.astype(np.float64) for name, value in two.items()})


def test_every_step_samples_with_the_public_rate(
    backbone: Backbone, state: AdapterState, examples: Examples, task
) -> None:
    local_task = task(samples=[[0], [1], []], local_steps=3, sample_rate=0.125)
    assert train_locally(backbone, state, examples, local_task).examples == 2
    assert local_task.sampling.asked == [(10, 0.125)] * 3


def test_the_second_step_starts_where_the_first_ended(
    backbone: Backbone, state: AdapterState, examples: Examples, task
) -> None:
    first = train_locally(backbone, state, examples, task())
    moved = AdapterState({name: state[name] + first.delta[name] for name in state.values})
    second_task = task(samples=[[1, 4]])
    second_task.noise.rng = np.random.default_rng(5)
    second = train_locally(backbone, moved, examples, second_task)
    both_task = task(samples=[CHOSEN, [1, 4]], local_steps=2)

    class Sequel(KnownNoise):
        """The noise of the first task, then of the second."""

        def draw(self, shape: Sequence[int], stddev: float) -> Tensor:
            if len(self.drawn) == len(names_in_model_order(backbone)):
                self.rng = np.random.default_rng(5)
            return super().draw(shape, stddev)

    both = train_locally(backbone, state, examples, replace(both_task, noise=Sequel()))
    assert_close(both.delta, {name: first.delta[name].astype(np.float64) + second.delta[name] for name in state.values})


def test_adamw_takes_the_noised_gradient(backbone: Backbone, state: AdapterState, examples: Examples, task) -> None:
    local_task = task(optimizer="adamw", learning_rate=0.01)
    found = train_locally(backbone, state, examples, local_task)
    noise = drawn_noise(backbone, local_task)
    clipped = clipped_sum(oracle(backbone, state, examples, CHOSEN), 0.3)
    expected = {}
    for name in clipped:
        gradient = (clipped[name] + noise[name]) / 6
        expected[name] = -0.01 * gradient / (np.abs(gradient) + 1e-8)
    assert_close(found.delta, expected, atol=1e-4)


def test_without_privacy_the_mean_gradient_is_bounded_not_each_examples(
    backbone: Backbone, state: AdapterState, examples: Examples, task
) -> None:
    rows = oracle(backbone, state, examples, CHOSEN)
    mean = {name: value.double().mean(dim=0).numpy() for name, value in rows.items()}
    norm = float(np.sqrt(sum((value**2).sum() for value in mean.values())))
    for clip_norm in (0.5 * norm, 2 * norm):
        local_task = task(noise_multiplier=0.0, clip_norm=clip_norm, private=False)
        found = train_locally(backbone, state, examples, local_task)
        scale = min(1.0, clip_norm / norm)
        assert_close(found.delta, {name: -0.5 * scale * value for name, value in mean.items()})
        assert local_task.noise.drawn == []


def test_without_privacy_an_empty_sample_changes_nothing(
    backbone: Backbone, state: AdapterState, examples: Examples, task
) -> None:
    found = train_locally(backbone, state, examples, task(noise_multiplier=0.0, samples=[[]], private=False))
    assert not any(value.any() for value in found.delta.values())


@pytest.mark.parametrize("noise_multiplier", [0.0, 0.7])
def test_a_frozen_factor_is_neither_moved_nor_sent(
    noise_multiplier: float, backbone: Backbone, state: AdapterState, examples: Examples, task
) -> None:
    trained = backbone.spec.only((Role.LORA_B, Role.HEAD))
    found = train_locally(backbone, state, examples, replace(task(noise_multiplier=noise_multiplier), trained=trained))
    assert set(found.delta) == set(trained.names)
    after = methods.read_state(backbone.model)
    for entry in backbone.spec.entries:
        moved = not (after[entry.name] == state[entry.name]).all()
        assert moved == (entry.role is not Role.LORA_A)


def test_frozen_factors_do_not_count_in_the_norm(
    backbone: Backbone, state: AdapterState, examples: Examples, task
) -> None:
    trained = backbone.spec.only((Role.LORA_B, Role.HEAD))
    local_task = replace(task(), trained=trained)
    found = train_locally(backbone, state, examples, local_task)
    noise = drawn_noise(backbone, local_task)
    rows = {name: value for name, value in oracle(backbone, state, examples, CHOSEN).items() if name in trained.names}
    clipped = clipped_sum(rows, 0.3)
    assert_close(found.delta, {name: -0.5 * (clipped[name] + noise[name]) / 6 for name in clipped})


def test_what_was_in_the_model_before_does_not_matter(
    backbone: Backbone, start: AdapterState, state: AdapterState, examples: Examples, task
) -> None:
    one = train_locally(backbone, state, examples, task()).delta
    train_locally(backbone, start, examples, task())
    two = train_locally(backbone, state, examples, task()).delta
    assert all((one[name] == two[name]).all() for name in one)


def test_training_leaves_no_gradient_behind(backbone: Backbone, state: AdapterState, examples: Examples, task) -> None:
    train_locally(backbone, state, examples, task())
    assert all(parameter.grad is None for parameter in backbone.model.parameters())


def test_the_given_state_is_not_changed(backbone: Backbone, state: AdapterState, examples: Examples, task) -> None:
    before = state.digest()
    train_locally(backbone, state, examples, task())
    assert state.digest() == before


def test_a_repr_shows_nothing_private() -> None:
    shown = repr(LocalUpdate(delta={"a": np.array([0.125])}, mean_gradient={"a": np.array([0.25])}, examples=77))
    assert "0.125" not in shown
    assert "77" not in shown


def test_each_group_is_sampled_at_its_own_rate(examples: Examples, make_plan: Callable[..., RoundPlan]) -> None:
    count = 4000
    many = Examples(
        token_ids=((1, 2),) * count, labels=np.zeros(count, dtype=np.int64), padding_id=0, groups=np.arange(count) % 2
    )
    plan = make_plan(groups=({"name": "a", "sample_rate": 0.1}, {"name": "b", "sample_rate": 0.6}))
    chosen = draw_sample(many, plan, SeededPoisson(np.random.default_rng(0)))
    assert (chosen % 2 == 0).mean() == pytest.approx(0.1 / 0.7, abs=0.03)
    assert len(chosen) == pytest.approx(0.35 * count, rel=0.1)
    with pytest.raises(PolicyError, match="these examples have no groups"):
        draw_sample(examples, plan, SeededPoisson(np.random.default_rng(0)))


@pytest.mark.parametrize("how", [(0.0, "sgd"), (0.7, "sgd"), (0.7, "adamw")])
def test_slots_that_a_client_has_not_stay_as_they_are(
    how: tuple[float, str],
    backbone: Backbone,
    state: AdapterState,
    examples: Examples,
    task: Callable[..., LocalTask],
) -> None:
    """Their gradients are exactly zero, so that only noise could move them."""
    masks = first_slots(backbone.spec, Allotment(client="c", rank=1))
    noise_multiplier, optimizer = how
    given = replace(task(noise_multiplier=noise_multiplier, optimizer=optimizer, samples=(CHOSEN, CHOSEN)), masks=masks)
    given = replace(given, plan=given.plan.model_copy(update={"local_steps": 2}))
    delta = train_locally(backbone, masked(state, masks), examples, given).delta
    assert len(masks) == 8
    for name, mask in masks.items():
        assert (delta[name] * (1 - mask) == 0).all()
        assert np.abs(delta[name] * mask).max() > 0


def test_a_client_of_smaller_rank_trains_as_a_smaller_model(
    backbone: Backbone, state: AdapterState, examples: Examples, task: Callable[..., LocalTask]
) -> None:
    """The rows of zeros add nothing to any example's norm: with and without the mask the clipped sums are the same."""
    masks = first_slots(backbone.spec, Allotment(client="c", rank=1))
    given = task(noise_multiplier=1e-9, clip_norm=0.05)
    cut = masked(state, masks)
    with_mask = train_locally(backbone, cut, examples, replace(given, masks=masks)).delta
    without = train_locally(backbone, cut, examples, task(noise_multiplier=1e-9, clip_norm=0.05)).delta
    assert_close(with_mask, without)


@pytest.mark.parametrize("noise_multiplier", [0.0, 0.7])
def test_the_proximal_term_pulls_back_to_the_start(
    noise_multiplier: float, backbone: Backbone, start: AdapterState, examples: Examples, task
) -> None:
    samples = (CHOSEN, [1, 4, 5])
    free, held = (
        train_locally(
            backbone, start, examples, task(samples=samples, local_steps=2, noise_multiplier=noise_multiplier, **more)
        )
        for more in ({}, {"proximal": 0.4})
    )
    first = train_locally(backbone, start, examples, task(noise_multiplier=noise_multiplier))
    # the second gradient is taken at the same weights, so that the difference is the pull alone: −η μ (w − w_start)
    for name, delta in held.delta.items():
        np.testing.assert_allclose(delta, free.delta[name] - 0.5 * 0.4 * first.delta[name], atol=1e-6)


@pytest.mark.parametrize("noise_multiplier", [0.0, 0.7])
def test_the_mean_gradient_is_what_the_steps_went_down(
    noise_multiplier: float, backbone: Backbone, start: AdapterState, examples: Examples, task
) -> None:
    samples = (CHOSEN, [1, 4, 5])
    update = train_locally(
        backbone, start, examples, task(samples=samples, local_steps=2, noise_multiplier=noise_multiplier)
    )
    for name, mean in update.mean_gradient.items():
        np.testing.assert_allclose(update.delta[name], -0.5 * 2 * mean, atol=1e-6)


def test_a_correction_is_added_to_every_gradient_but_not_to_what_is_remembered(
    backbone: Backbone, start: AdapterState, examples: Examples, task
) -> None:
    correction = {"base_model.model.classifier.bias": np.array([0.3, -0.2], dtype=np.float32)}
    free, corrected = (
        train_locally(backbone, start, examples, replace(task(noise_multiplier=0.0), correction=given))
        for given in ({}, correction)
    )
    for name, delta in corrected.delta.items():
        np.testing.assert_allclose(delta, free.delta[name] - 0.5 * correction.get(name, 0.0), atol=1e-6)
        np.testing.assert_allclose(corrected.mean_gradient[name], free.mean_gradient[name], atol=1e-7)
