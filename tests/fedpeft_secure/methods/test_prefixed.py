"""Our own prefixes against transformers' attention, and against plain concatenation."""

from pathlib import Path

import pytest
import torch
from torch import nn

from fedpeft_secure import methods, models
from fedpeft_secure.config import ModelConfig, PeftTable
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods import prefixed
from fedpeft_secure.methods.prefixed import PrefixedModel, prefixed_attention, self_attentions

IDS = torch.tensor([[5, 6, 7, 1], [8, 9, 1, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def base_of(path: Path, pooling: str = "mean") -> nn.Module:
    config = ModelConfig.model_validate({"name": str(path), "pooling": pooling})
    model = models.load_classifier(config, num_labels=2, seed=1)
    if pooling == "mean":
        nn.init.normal_(model.classifier.weight)
    return model


@pytest.mark.parametrize("architecture", ["tiny_distilbert", "tiny_t5"])
@pytest.mark.parametrize("pooling", ["mean", "model"])
def test_without_virtual_tokens_it_is_the_model(
    architecture: str, pooling: str, request: pytest.FixtureRequest
) -> None:
    """Masks, scaling and T5's relative positions are those of transformers."""
    path: Path = request.getfixturevalue(architecture)
    torch.manual_seed(0)
    base = base_of(path, pooling)
    with torch.no_grad():
        before = base(input_ids=IDS, attention_mask=MASK).logits
        after = PrefixedModel(base, virtual_tokens=0).eval()(IDS, MASK).logits
    assert before.abs().max() > 0
    assert torch.allclose(before, after, atol=1e-5)


def test_it_is_attention_over_prefix_and_text() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value, position_bias = (torch.randn(2, 3, 5, size, generator=generator) for size in (4, 4, 4, 5))
    more_keys, more_values = (torch.randn(2, 3, 2, 4, generator=generator) for _ in range(2))
    mask = torch.zeros(2, 1, 1, 5)
    mask[1, ..., 3:] = -1e9
    module = nn.Identity().eval()
    prefixed._given[module] = (more_keys, more_values)
    found, _ = prefixed_attention(
        module, query, key, value, mask, scaling=0.5, dropout=0.3, position_bias=position_bias
    )
    bias = torch.cat([torch.zeros(2, 3, 5, 2), position_bias + mask], dim=-1)
    expected = nn.functional.scaled_dot_product_attention(
        query, torch.cat([more_keys, key], dim=2), torch.cat([more_values, value], dim=2), attn_mask=bias, scale=0.5
    )
    assert torch.allclose(found, expected.transpose(1, 2), atol=1e-5)
    assert module not in prefixed._given


def test_only_the_encoders_own_attention_is_prefixed(tiny_t5: Path) -> None:
    names = self_attentions(base_of(tiny_t5, "model"))
    assert len(names) == 2
    assert all("encoder.block" in name and name.endswith("SelfAttention") for name in names)


def test_a_layer_that_does_not_ask_for_its_prefix_is_noticed(tiny_distilbert: Path) -> None:
    model = PrefixedModel(base_of(tiny_distilbert), virtual_tokens=2)
    for name in self_attentions(model.base_model):
        model.base_model.get_submodule(name).config._attn_implementation = "eager"
    with pytest.raises(ModelError, match=r"^peft.method: DistilBertSelfAttention .* takes no prefix"):
        model(IDS, MASK)
    assert not prefixed._given


def test_an_unknown_attention_is_refused(tiny_distilbert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixed, "HEAD_WIDTH", {})
    with pytest.raises(ModelError, match=r"^peft.method: no prefix for models of type distilbert .*; use"):
        methods.wrap(base_of(tiny_distilbert), PeftTable(method="prefix"), public_name="x", seed=1)
