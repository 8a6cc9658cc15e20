from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import dp.noise
import dp.persample
from fedpeft_secure import Config, methods
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.clients.backbone import Backbone, load_backbone
from fedpeft_secure.clients.batches import Batch, Examples, split_batch
from fedpeft_secure.clients.lower_layers import ActivationStore, find_layers, lower_layers, lowest_layer
from fedpeft_secure.clients.training import LocalTask, train_locally
from fedpeft_secure.plans import RoundPlan


def top_of(spec: AdapterSpec) -> AdapterSpec:
    """The second layer's share of the adapter, and the head."""
    return AdapterSpec(entries=tuple(entry for entry in spec.entries if "layer.0." not in entry.name))


def moved(backbone: Backbone, start: AdapterState) -> AdapterState:
    rng = np.random.default_rng(0)
    return start.replace({name: value + rng.normal(0, 0.3, value.shape) for name, value in start.values.items()})


def tuned(backbone: Backbone, state: AdapterState, *, limit_bytes: int = 2**20) -> tuple[Backbone, Backbone]:
    """(without, with) what lies below the second layer kept; both share a model."""
    backbone.load(state)
    methods.train_only(backbone.model, top_of(backbone.spec))
    plain = replace(backbone, store=ActivationStore(limit_bytes=limit_bytes), lower=None)
    trained = {name: p for name, p in methods.named_trainable(backbone.model).items() if p.requires_grad}
    return plain, plain.training_only(trained, passes=2.0)


def clipped_sum(backbone: Backbone, examples: Examples, *, batch_size: int = 4) -> dict[str, torch.Tensor]:
    total: dict[str, torch.Tensor] = {}
    for batch in backbone.batches(examples, np.arange(len(examples)), batch_size=batch_size):
        clipped = backbone.per_example.strategy.clip(backbone.model, batch, backbone.losses, clip_norm=0.5)
        for name, value in clipped.sums.items():
            total[name] = total.get(name, 0) + value
    return total


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    gap = sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5
    return gap / sum(float(value.square().sum()) for value in one.values()) ** 0.5


@pytest.fixture(params=["tiny_bert", "tiny_roberta", "tiny_distilbert"])
def loaded_model(request: pytest.FixtureRequest, tiny_config: Callable[..., Config]) -> tuple[Backbone, AdapterState]:
    folder: Path = request.getfixturevalue(request.param)
    targets = {"peft.targets": ["query", "value"], "model.name": str(folder), "model.max_length": 20}
    return load_backbone(tiny_config(targets), num_labels=2)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.05)])
def test_clipped_gradients_are_the_same(
    loaded_model: tuple[Backbone, AdapterState], examples: Examples, precision: str, tolerance: float
) -> None:
    backbone = replace(loaded_model[0], precision=precision)
    plain, cached = tuned(backbone, moved(*loaded_model))
    assert cached.lower is not None
    assert cached.lower.first == 1
    expected = clipped_sum(plain, examples)
    assert distance(expected, clipped_sum(cached, examples)) < tolerance
    assert distance(expected, clipped_sum(cached, examples, batch_size=3)) < tolerance


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_in_the_same_blocks_they_are_the_same_bits(
    backbone: Backbone, state: AdapterState, examples: Examples, precision: str
) -> None:
    plain, cached = tuned(replace(backbone, precision=precision), state)
    expected, found = (clipped_sum(one, examples, batch_size=32) for one in (plain, cached))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_hooks_agree_with_one_example_at_a_time(backbone: Backbone, state: AdapterState, examples: Examples) -> None:
    plain, cached = tuned(backbone, state)
    singly = replace(cached, per_example=dp.persample.wrap(backbone.model, split=split_batch).in_microbatches("test"))
    assert distance(clipped_sum(plain, examples), clipped_sum(singly, examples)) < 1e-5


def test_lower_layers_run_once(backbone: Backbone, state: AdapterState, examples: Examples) -> None:
    _, cached = tuned(backbone, state)
    owner, attribute = find_layers(backbone.model) or pytest.fail("no layers")
    calls = []
    handle = getattr(owner, attribute)[0].register_forward_hook(lambda *_: calls.append(1))
    try:
        for _ in range(3):
            clipped_sum(cached, examples)
    finally:
        handle.remove()
    assert len(calls) == 1, "one block of ten texts"
    assert len(getattr(owner, attribute)) == 2, "the model has all its layers again"


def test_a_changed_lower_layer_is_noticed(backbone: Backbone, state: AdapterState, examples: Examples) -> None:
    plain, cached = tuned(backbone, state)
    before = clipped_sum(cached, examples)
    below = next(entry.name for entry in backbone.spec.entries if "layer.0." in entry.name and "lora_B" in entry.name)
    backbone.load(state.replace({below: state[below] + 0.5}))
    expected = clipped_sum(plain, examples)
    assert distance(expected, clipped_sum(cached, examples)) < 1e-5
    assert distance(expected, before) > 1e-3


def test_precisions_and_sets_are_kept_apart(backbone: Backbone, state: AdapterState, examples: Examples) -> None:
    _, cached = tuned(backbone, state)
    fewer = replace(examples, token_ids=examples.token_ids[3:], labels=examples.labels[3:])
    for one in (cached, replace(cached, precision="bf16")):
        for chosen in (examples, fewer):
            (batch,) = one.batches(chosen, np.arange(len(chosen)), batch_size=32)
            with torch.no_grad():
                alone = replace(one, lower=None).logits(one.model, batch)
                assert torch.equal(one.logits(one.model, batch), alone)


def test_what_does_not_fit_is_computed_again(backbone: Backbone, state: AdapterState, examples: Examples) -> None:
    tokens = sum(len(ids) for ids in examples.token_ids)
    for limit, kept in ((tokens * 32 * 4 - 1, 0), (tokens * 32 * 4, tokens * 32 * 4)):
        plain, cached = tuned(backbone, state, limit_bytes=limit)
        assert distance(clipped_sum(plain, examples), clipped_sum(cached, examples)) < 1e-5
        assert cached.store is not None
        assert cached.store.held_bytes == kept


def test_values_are_given_back_when_parameters_change(
    backbone: Backbone, state: AdapterState, examples: Examples
) -> None:
    _, cached = tuned(backbone, state)
    for _ in range(3):
        clipped_sum(cached, examples)
        backbone.load(state)
    assert cached.store is not None
    assert cached.store.held_bytes == sum(len(ids) for ids in examples.token_ids) * 32 * 4


class _Silent:
    label = "simulation"

    def draw(self, shape: tuple[int, ...], stddev: float) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float64)


def test_local_training_is_the_same(
    backbone: Backbone, state: AdapterState, examples: Examples, make_plan: Callable[..., RoundPlan], fixed_sample: type
) -> None:
    task = LocalTask(
        plan=make_plan(local_steps=3, sample_rate=1.0),
        trained=top_of(backbone.spec),
        noise_multiplier=1.0,
        sampling=fixed_sample([0, 1, 2, 5], [3, 4], [0, 9]),
        noise=_Silent(),
        physical_batch=4,
    )
    again = replace(task, sampling=fixed_sample([0, 1, 2, 5], [3, 4], [0, 9]))
    store = ActivationStore(limit_bytes=2**20)
    kept = train_locally(replace(backbone, store=store, lower=None), state, examples, task)
    assert store.held_bytes > 0
    plain = train_locally(replace(backbone, store=None, lower=None), state, examples, again)
    for name, value in plain.delta.items():
        np.testing.assert_allclose(kept.delta[name], value, rtol=1e-4, atol=1e-6)


def test_one_look_does_not_pay(
    backbone: Backbone, state: AdapterState, examples: Examples, make_plan: Callable[..., RoundPlan], fixed_sample: type
) -> None:
    store = ActivationStore(limit_bytes=2**20)
    task = LocalTask(
        plan=make_plan(local_steps=3, sample_rate=0.25),
        trained=top_of(backbone.spec),
        noise_multiplier=1.0,
        sampling=fixed_sample([0, 1], [2], []),
        noise=_Silent(),
        physical_batch=4,
    )
    train_locally(replace(backbone, store=store, lower=None), state, examples, task)
    assert store.held_bytes == 0


def test_the_lowest_layer(backbone: Backbone) -> None:
    named = methods.named_trainable(backbone.model)
    assert lowest_layer(backbone.model, named) == 0
    top = {name: named[name] for name in top_of(backbone.spec).names}
    assert lowest_layer(backbone.model, top) == 1
    head = {name: named[name] for name in named if "classifier" in name}
    assert head
    assert lowest_layer(backbone.model, head) == 1
    words = {"embeddings.word_embeddings.weight": torch.nn.Parameter(torch.zeros(2))}
    assert lowest_layer(backbone.model, head | words) == 0
    assert lower_layers(backbone.model, named, store=ActivationStore(limit_bytes=1)) is None
    assert lower_layers(backbone.model, top, store=ActivationStore(limit_bytes=0)) is None


def test_t5_and_prompts_keep_nothing(tiny_t5: Path, tiny_config: Callable[..., Config]) -> None:
    for changes in ({"model.name": str(tiny_t5)}, {"peft.method": "prompt", "peft.virtual_tokens": 2}):
        loaded, _ = load_backbone(tiny_config({**changes, "training.rounds": 100}), num_labels=2)
        head = {n: p for n, p in methods.named_trainable(loaded.model).items() if "classifier" in n or "prompt" in n}
        assert lowest_layer(loaded.model, head) == 0
        assert loaded.lower is None


def test_nothing_private_is_shown(backbone: Backbone, state: AdapterState, examples: Examples) -> None:
    _, cached = tuned(backbone, state)
    (batch,) = cached.batches(examples, np.arange(10), batch_size=10)
    assert isinstance(batch, Batch)
    assert "tensor" not in repr(batch) + repr(cached.store) + repr(cached.lower)


def test_a_second_model_of_the_same_values_uses_what_the_first_computed(
    backbone: Backbone, state: AdapterState, examples: Examples, tiny_config: Callable[..., Config]
) -> None:
    _, cached = tuned(backbone, state)
    clipped_sum(cached, examples)
    twin, _ = load_backbone(tiny_config({"model.max_length": 20}), num_labels=2, store=cached.store)
    assert twin.store is cached.store
    again, other = (tuned(twin, changed)[1] for changed in (state, moved(twin, state)))
    for one, kept in ((again, True), (other, False)):
        store = replace(one, store=cached.store, lower=replace(one.lower, store=cached.store))
        one.load(state if kept else moved(twin, state))
        before = next(iter(cached.store._sets.values()))
        clipped_sum(store, examples)
        assert (next(iter(cached.store._sets.values())) is before) is kept
