"""Prefix tuning: trainable keys and values before every layer's own (Li and Liang 2021)."""

from typing import Any

import torch
from peft import PeftModelForFeatureExtraction, PrefixTuningConfig, TaskType
from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions, heads_of, seed_torch, set_public_name
from fedpeft_secure.methods.prefixed import PrefixedModel, self_attentions
from fedpeft_secure.methods.selected import SelectedModel
from fedpeft_secure.methods.state import ADAPTER, spec_of

TAKES_PAST = ("bert", "roberta")
"""Encoders that accept keys and values from outside, as PEFT hands them over."""

START = 0.02
"""Standard deviation of the first keys and values: PEFT's own, 1, drowns those of the text."""


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Adds keys and values to every layer of `base` and unfreezes its head.

    Raises:
        ModelError: If nothing is known of the model's attention.
    """
    base_config: Any = base.config
    if base_config.model_type not in TAKES_PAST:
        return _wrap_attentions(base, options)
    config = PrefixTuningConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        num_virtual_tokens=options.table.virtual_tokens,
        token_dim=base_config.hidden_size,
        num_transformer_submodules=1,
        num_attention_heads=base_config.num_attention_heads,
        num_layers=base_config.num_hidden_layers,
        modules_to_save=heads_of(base),
        base_model_name_or_path=options.public_name,
    )
    set_public_name(base, options)
    with torch.random.fork_rng(devices=[]):
        seed_torch(options)
        model = PeftModelForFeatureExtraction(base.requires_grad_(False), config)
        nn.init.normal_(model.prompt_encoder[ADAPTER].embedding.weight, std=START)
    return model, spec_of(model)


def _wrap_attentions(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """The same for encoders that PEFT cannot prefix."""
    base_config: Any = base.config
    if not self_attentions(base):
        raise ModelError(
            f"peft.method: no prefix for models of type {base_config.model_type} is known here; "
            'use "prompt" or "lora", or BERT, RoBERTa, DistilBERT or T5'
        )
    heads = heads_of(base)
    prefixed = PrefixedModel(base, virtual_tokens=options.table.virtual_tokens)
    with torch.random.fork_rng(devices=[]):
        seed_torch(options)
        nn.init.normal_(prefixed.prefix.weight, std=START)
    in_heads = [f"base_model.{name}" for name, _ in base.named_parameters() if name.split(".", 1)[0] in heads]
    model = SelectedModel(
        prefixed, selected=["prefix.weight", *in_heads], method="prefix", public_name=options.public_name
    )
    return model, spec_of(model)
