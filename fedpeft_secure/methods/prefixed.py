"""Prefix keys and values for encoders that take none from outside: DistilBERT's, and T5's.

PEFT hands prefixes over as a cache, which these ignore; here they come in by transformers' attention interface.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_outputs import SequenceClassifierOutput

from fedpeft_secure.errors import ModelError

ATTENTION = "fedpeft_prefixed"
"""Our attention's name among transformers' own."""

HEAD_WIDTH = {"DistilBertSelfAttention": "attention_head_size", "T5Attention": "key_value_proj_dim"}
"""Attention classes that can be prefixed → their attribute with the width of a head; `n_heads` is their number."""

_given: dict[nn.Module, tuple[Tensor, Tensor]] = {}  # attention module → keys and values of the pass that is going on


class PrefixedModel(nn.Module):
    """`base_model` whose self-attentions see `virtual_tokens` trainable keys and values before their own.

    Args:
        base_model: a classifier on DistilBERT, or with T5's encoder.
        virtual_tokens: ≥ 1.
    """

    def __init__(self, base_model: nn.Module, *, virtual_tokens: int) -> None:
        super().__init__()
        self.base_model = base_model
        self.config = base_model.config
        self._names = self_attentions(base_model)
        first = base_model.get_submodule(self._names[0])
        self._heads, self._width = _shape(first)
        self.prefix = nn.Embedding(virtual_tokens, 2 * len(self._names) * self._heads * self._width)
        for name in self._names:
            config: Any = base_model.get_submodule(name).config
            config._attn_implementation = ATTENTION

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, *, labels: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Class scores of a batch; shapes as in `models.MeanPooledClassifier`, `labels` as in `label_words`.

        Raises:
            ModelError: If a layer did not ask for its prefix.
        """
        modules = [self.base_model.get_submodule(name) for name in self._names]
        # Looked up once for each example, so that each has a gradient of its own.
        tokens = torch.arange(self.prefix.num_embeddings, device=input_ids.device).expand(len(input_ids), -1)
        split = self.prefix(tokens).unflatten(-1, (2 * len(modules), self._heads, self._width))
        layers = split.permute(2, 0, 3, 1, 4)  # (keys and values of each layer, batch, heads, tokens, width)
        given = {module: (layers[2 * i], layers[2 * i + 1]) for i, module in enumerate(modules)}
        _given.update(given)
        asked = {} if labels is None else {"labels": labels}
        try:
            output: SequenceClassifierOutput = self.base_model(
                input_ids=input_ids, attention_mask=attention_mask, **asked
            )
            forgotten = [module for module in modules if module in _given]
        finally:
            for module in modules:
                _given.pop(module, None)
        if forgotten:
            raise ModelError(
                f"peft.method: {type(forgotten[0]).__name__} of this version of transformers takes no prefix; "
                'update transformers, or use "prompt"'
            )
        return output


def self_attentions(base: nn.Module) -> list[str]:
    """Names of the encoder's self-attentions that can be prefixed, from the first layer to the last."""
    return [
        name
        for name, module in base.named_modules()
        if type(module).__name__ in HEAD_WIDTH and not getattr(module, "is_decoder", False)
    ]


def prefixed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor]:
    """Attention over the prefix and the text; the prefix is never masked and has no position.

    Args: query, key, value: (batch, heads, tokens, width). attention_mask: additive. options: scaling, dropout and,
        from T5, position_bias.
    """
    prefix_keys, prefix_values = _given.pop(module)
    length, virtual = key.shape[2], prefix_keys.shape[2]
    keys = torch.cat([prefix_keys.to(key.dtype), key], dim=2)
    values = torch.cat([prefix_values.to(value.dtype), value], dim=2)
    scores = query @ keys.transpose(2, 3) * options["scaling"]
    for added in (options.get("position_bias"), attention_mask):
        if added is not None:
            scores = scores + nn.functional.pad(added[..., :length], (virtual, 0))
    weights = nn.functional.softmax(scores.float(), dim=-1).to(values.dtype)
    weights = nn.functional.dropout(weights, p=options.get("dropout", 0.0), training=module.training)
    return (weights @ values).transpose(1, 2).contiguous(), weights


def _shape(attention: nn.Module) -> tuple[int, int]:
    heads: Any = attention.n_heads
    return int(heads), int(getattr(attention, HEAD_WIDTH[type(attention).__name__]))


AttentionInterface.register(ATTENTION, prefixed_attention)
AttentionMaskInterface.register(ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
