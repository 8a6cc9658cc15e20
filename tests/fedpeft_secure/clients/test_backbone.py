import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from dp.oracle import refuse_coupled_loss
from fedpeft_secure import Config, methods
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.backbone import (
    KERNEL_CACHES,
    Backbone,
    bound_kernel_caches,
    choose_device,
    choose_precision,
    load_backbone,
)
from fedpeft_secure.clients.batches import Batch, Examples, physical_batches
from fedpeft_secure.errors import ConfigError

CPU = torch.device("cpu")


def batches(examples: Examples, size: int) -> list[Batch]:
    return list(physical_batches(examples, np.arange(len(examples)), batch_size=size, device=CPU))


def test_the_start_is_a_function_of_the_seed(tiny_config: Callable[..., Config], start: AdapterState) -> None:
    assert load_backbone(tiny_config(), num_labels=2)[1].digest() == start.digest()
    assert load_backbone(tiny_config({"seed": 1}), num_labels=2)[1].digest() != start.digest()


def test_the_head_has_a_row_for_each_class(tiny_config: Callable[..., Config]) -> None:
    loaded, values = load_backbone(tiny_config(), num_labels=5)
    assert values["base_model.model.classifier.weight"].shape == (5, 32)
    assert loaded.spec.names == tuple(values.values)


def test_loading_a_state_changes_what_the_model_says(
    backbone: Backbone, start: AdapterState, state: AdapterState, examples: Examples
) -> None:
    (batch,) = batches(examples, 20)
    backbone.load(state)
    with torch.no_grad():
        one = backbone.logits(backbone.model, batch)
        backbone.load(start)
        assert not backbone.logits(backbone.model, batch).any(), "the head starts at zero"
        backbone.load(state)
        assert torch.equal(backbone.logits(backbone.model, batch), one)
    assert methods.read_state(backbone.model).digest() == state.digest()


def test_losses_are_one_cross_entropy_an_example(backbone: Backbone, state: AdapterState, examples: Examples) -> None:
    backbone.load(state)
    (batch,) = batches(examples, 20)
    losses, logits = backbone.losses(backbone.model, batch), backbone.logits(backbone.model, batch)
    expected = -torch.log_softmax(logits, dim=1)[torch.arange(len(batch)), batch.labels]
    assert losses.shape == (10,)
    assert torch.allclose(losses, expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_examples_loss_depends_on_another(
    precision: str, backbone: Backbone, state: AdapterState, examples: Examples
) -> None:
    changed = replace(backbone, precision=precision)
    changed.load(state)
    (batch,) = batches(examples, 20)
    refuse_coupled_loss(changed.model, batch, changed.losses, split=lambda _: batches(examples, 1))


def test_bf16_is_used_inside_and_fp32_comes_out(backbone: Backbone, state: AdapterState, examples: Examples) -> None:
    backbone.load(state)
    (batch,) = batches(examples, 20)
    with torch.no_grad():
        exact = backbone.logits(backbone.model, batch)
        half = replace(backbone, precision="bf16").logits(backbone.model, batch)
    assert half.dtype == torch.float32
    assert torch.allclose(half, exact, atol=0.1)
    assert not torch.equal(half, exact)


def test_nothing_random_happens_in_a_forward_pass(backbone: Backbone) -> None:
    assert not any(module.training for module in backbone.model.modules())


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for wanted in ("cuda", "mps"):
        with pytest.raises(
            ConfigError, match=rf"model.device: this machine has no '{wanted}'; use \"auto\" or \"cpu\""
        ):
            choose_device(wanted)
    assert choose_device("auto") == CPU
    assert choose_device("cpu") == CPU


def test_auto_prefers_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx512_f": True}, "fp32"), ({}, "fp32")],
)
def test_auto_takes_bf16_where_the_processor_multiplies_in_it(
    capabilities: dict[str, bool], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_precision("auto", CPU) == chosen


def test_a_named_precision_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert choose_precision("bf16", CPU) == "bf16"
    assert choose_precision("fp32", CPU) == "fp32"


def test_an_accelerator_is_asked_for_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    for supported, chosen in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda supported=supported: supported)
        assert choose_precision("auto", cuda) == chosen


def test_virtual_tokens_need_positions(tiny_config: Callable[..., Config]) -> None:
    fits = {"model.max_length": 60, "peft.method": "prompt", "peft.virtual_tokens": 4}
    load_backbone(tiny_config(fits), num_labels=2)
    with pytest.raises(ConfigError, match=r"^model.max_length: 60 and 5 virtual tokens exceed"):
        load_backbone(tiny_config(fits | {"peft.virtual_tokens": 5}), num_labels=2)


def test_kernels_of_few_shapes_are_kept_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in KERNEL_CACHES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(KERNEL_CACHES[0], "7")
    bound_kernel_caches()
    assert [os.environ[variable] for variable in KERNEL_CACHES] == ["7", "16"]
