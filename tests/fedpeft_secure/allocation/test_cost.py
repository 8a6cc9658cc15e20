from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, T5Config, T5EncoderModel

from fedpeft_secure import methods
from fedpeft_secure.allocation.allotment import Allotment
from fedpeft_secure.allocation.cost import cost_of, trained_values
from fedpeft_secure.allocation.devices import Device, fit_memory, fit_time
from fedpeft_secure.allocation.shapes import Choice, ModelShape, load_shape
from fedpeft_secure.config import PeftTable
from fedpeft_secure.errors import ModelError
from fedpeft_secure.models import MeanPooledClassifier

LAYERS, WIDTH, INNER, BATCH, LENGTH = 3, 64, 256, 4, 16


def bert() -> BertModel:
    config = BertConfig(
        vocab_size=50, num_hidden_layers=LAYERS, hidden_size=WIDTH, intermediate_size=INNER, num_attention_heads=4
    )
    return BertModel(config, add_pooling_layer=False).eval()


@pytest.fixture(scope="module")
def shape() -> ModelShape:
    with torch.device("meta"):
        return ModelShape.of(bert())


def choice(**changes: object) -> Choice:
    return replace(Choice(method="lora", layers=LAYERS, rank=4, batch=BATCH, length=LENGTH), **changes)


def kept_by_autograd(choice: Choice) -> int:
    """Bytes of the tensors that autograd saves in a pass, without parameters and without the head's and the loss's."""
    model, spec = methods.wrap(
        MeanPooledClassifier(bert(), num_labels=2),
        PeftTable(method="lora", rank=choice.rank, targets=choice.targets),
        public_name="tiny",
        seed=0,
    )
    methods.train_only(model, Allotment(client="a", layers=choice.layers).part_of(spec))
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    ids = torch.ones(choice.batch, choice.length, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.sum()
    sizes = [t.untyped_storage().nbytes() for where, t in saved.items() if where not in own]
    return sum(size for size in sizes if size > choice.batch * choice.length * 4 * 2)


@pytest.mark.parametrize("changes", [{}, {"layers": 1}, {"rank": 16, "targets": ("query", "key", "value")}])
def test_what_autograd_keeps_is_counted(shape: ModelShape, changes: dict[str, object]) -> None:
    counted = cost_of(shape, choice(**changes)).kept_bytes
    assert kept_by_autograd(choice(**changes)) == pytest.approx(counted, rel=0.06)


@pytest.mark.parametrize("method", ["lora", "bitfit"])
def test_trained_values_are_those_of_the_adapter(shape: ModelShape, method: str) -> None:
    base = MeanPooledClassifier(bert(), num_labels=2)
    _, spec = methods.wrap(base, PeftTable(method=method, rank=4), public_name="tiny", seed=0)
    below = sum(entry.size for entry in spec.entries if "embeddings" in entry.name)
    assert trained_values(shape, choice(method=method)) == spec.size - below
    assert trained_values(shape, choice(method="head", layers=0)) == (WIDTH + 1) * 2
    top = Allotment(client="a", layers=1).part_of(spec)
    assert trained_values(shape, choice(method=method, layers=1)) == top.size - below


def test_flops_are_two_a_weight_and_token_forward(shape: ModelShape) -> None:
    weights = LAYERS * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)
    scores = LAYERS * 2 * LENGTH * WIDTH
    tokens = BATCH * LENGTH
    assert cost_of(shape, choice(method="head", layers=0)).flops == 2 * tokens * (weights + scores)
    whole = cost_of(shape, choice(trains_a=False, targets=())).flops
    assert whole == pytest.approx(2 * tokens * (2 * weights + 3 * scores))


def test_depth_costs_memory_and_time_and_rank_the_upload(shape: ModelShape) -> None:
    one, three, wide = (cost_of(shape, choice(**c)) for c in ({"layers": 1}, {}, {"rank": 8, "layers": 1}))
    assert three.kept_bytes == 3 * one.kept_bytes
    assert three.flops > one.flops
    head = (WIDTH + 1) * 2
    assert wide.trained - head == 2 * (one.trained - head)
    assert wide.upload_bytes(bits=16) == 2 * wide.trained
    assert wide.upload_bytes(bits=10) == -(-wide.trained * 10 // 8)


def test_privacy_keeps_a_gradient_for_each_example(shape: ModelShape) -> None:
    private, plain = cost_of(shape, choice()), cost_of(shape, choice(private=False))
    assert private.state_bytes - plain.state_bytes == 4 * BATCH * private.trained
    moments = cost_of(shape, choice(adamw=True)).state_bytes - private.state_bytes
    assert moments == 8 * private.trained


def test_a_frozen_a_keeps_no_hidden_states(shape: ModelShape) -> None:
    gap = cost_of(shape, choice()).kept_bytes - cost_of(shape, choice(trains_a=False)).kept_bytes
    assert gap == 4 * BATCH * LENGTH * LAYERS * WIDTH


@pytest.mark.parametrize("name", ["tiny_bert", "tiny_roberta", "tiny_distilbert"])
def test_shapes_are_read_without_weights(name: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    found = load_shape(str(folder), classes=3)
    assert (found.layers, found.width, found.feed_forward, found.heads, found.classes) == (2, 32, 48, 2, 3)
    assert len(found.adapted(("query", "value"))) == 2
    assert sum(each.inputs * each.outputs for each in found.linears) == 4 * 32**2 + 2 * 32 * 48


def test_what_is_not_modelled_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no cost is known of 'prompt'; it can be lora, rslora, bitfit, head"):
        choice(method="prompt")
    with pytest.raises(ValueError, match="must be at least 1"):
        choice(batch=0)
    with torch.device("meta"):
        t5 = T5EncoderModel(T5Config(d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, vocab_size=50))
    with pytest.raises(ModelError, match="costs of models of type t5 are not modelled"):
        ModelShape.of(t5)


def device(**changes: float) -> Device:
    return Device(kind="test", memory_bytes=1e9, seconds_per_flop=1e-10, **changes)


def test_constants_are_found_again(shape: ModelShape) -> None:
    true = device(
        seconds_per_byte=3e-10, seconds_per_kernel=1e-4, workspace_bytes=2**20, passing_factor=1.5, hole_share=0.4
    )
    menu = [choice(layers=k, batch=b, length=n) for k in (1, 3) for b in (1, 8) for n in (8, 32)]
    costs = [cost_of(shape, each) for each in [*menu, choice(method="head", layers=0)]]
    memory = fit_memory([(cost, true.peak_bytes(cost)) for cost in costs])
    np.testing.assert_allclose(memory, (2**20, 1.5, 0.4), rtol=1e-6)
    time = fit_time([(cost, true.step_seconds(cost)) for cost in costs])
    np.testing.assert_allclose(time, (1e-10, 3e-10, 1e-4), rtol=1e-6)


def test_constants_are_never_negative(shape: ModelShape) -> None:
    costs = [cost_of(shape, choice(layers=k)) for k in (1, 2, 3)]
    assert min(fit_memory([(cost, float(cost.weight_bytes)) for cost in costs])) >= 0
    assert min(fit_time([(cost, 1.0 / cost.flops) for cost in costs])) >= 0
