"""Prompt tuning: trainable virtual tokens before every text (Lester, Al-Rfou and Constant 2021)."""

import inspect
from typing import Any

import torch
from peft import PeftModelForFeatureExtraction, PromptTuningConfig, PromptTuningInit, TaskType
from torch import Tensor, nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions, heads_of, seed_torch, set_public_name
from fedpeft_secure.methods.state import ADAPTER, spec_of


class PromptModel(PeftModelForFeatureExtraction):
    """PEFT's prompt model, with the virtual tokens looked up once for each example.

    PEFT looks them up once and repeats the result, so that all examples share one gradient and the whole batch would be
    clipped as a single example. Values and files are PEFT's own.
    """

    def get_prompt(self, batch_size: int, task_ids: Any = None, max_cache_len: int | None = None) -> Tensor:
        """The virtual tokens' embeddings, shape (batch, virtual tokens, width)."""
        del task_ids, max_cache_len
        encoder = self.prompt_encoder[ADAPTER]
        tokens = self.prompt_tokens[ADAPTER].to(encoder.embedding.weight.device)
        prompts: Tensor = encoder(tokens.unsqueeze(0).expand(batch_size, -1))
        return prompts


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Adds virtual tokens, which start as random words, and unfreezes the head.

    Raises:
        ModelError: If the model takes no embeddings in place of words.
    """
    if "inputs_embeds" not in inspect.signature(base.forward).parameters or _needs_words(base):
        raise ModelError(
            'peft.method: this model\'s own head needs words, not virtual tokens; use model.pooling = "mean" or "lora"'
        )
    base_config: Any = base.config
    config = PromptTuningConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        num_virtual_tokens=options.table.virtual_tokens,
        token_dim=base_config.hidden_size,
        num_transformer_submodules=1,
        num_attention_heads=base_config.num_attention_heads,
        num_layers=base_config.num_hidden_layers,
        prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB,
        modules_to_save=heads_of(base),
        base_model_name_or_path=options.public_name,
    )
    set_public_name(base, options)
    with torch.random.fork_rng(devices=[]):
        seed_torch(options)
        model = PromptModel(base.requires_grad_(False), config)
    return model, spec_of(model)


def _needs_words(base: nn.Module) -> bool:
    """T5's own head looks for the end of the text among the words."""
    return getattr(base.config, "model_type", "") == "t5" and "classification_head" in heads_of(base)
