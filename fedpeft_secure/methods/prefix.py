"""Prefix tuning: trainable keys and values before every layer's own (Li and Liang 2021)."""

from typing import Any

import torch
from peft import PeftModelForFeatureExtraction, PrefixTuningConfig, TaskType
from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions, heads_of, seed_torch, set_public_name
from fedpeft_secure.methods.state import ADAPTER, spec_of

TAKES_PAST = ("bert", "roberta")
"""Encoders that accept keys and values from outside. DistilBERT has no such argument, and T5's encoder drops them."""

START = 0.02
"""Standard deviation of the first keys and values: PEFT's own, 1, drowns those of the text."""


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Adds keys and values to every layer of `base` and unfreezes its head.

    Raises:
        ModelError: If the model takes no keys and values from outside.
    """
    base_config: Any = base.config
    if base_config.model_type not in TAKES_PAST:
        raise ModelError(
            f"peft.method: encoders of type {base_config.model_type} take no keys and values from outside; "
            f'use "prompt" or "lora", or a model of type {" or ".join(TAKES_PAST)}'
        )
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
