"""Where a model's layers are: its blocks from input to output, and the linear modules that methods adapt."""

from collections.abc import Collection

from torch import nn

from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods.base import HEADS

STACKS = ("layer", "layers", "block", "h")
"""What transformers calls the lists of blocks."""

OTHER_NAMES = {
    "query": ("q_lin", "q_proj", "q"),
    "key": ("k_lin", "k_proj", "k"),
    "value": ("v_lin", "v_proj", "v"),
}
"""What other architectures than BERT call their attention modules: DistilBERT, Llama and its kin, T5."""

ATTENTION_OUT = (
    "attention.output.dense",
    "attention.out_lin",
    "SelfAttention.o",
    "EncDecAttention.o",
    "self_attn.o_proj",
)
FEED_FORWARD_OUT = ("output.dense", "ffn.lin2", "DenseReluDense.wo", "mlp.down_proj")
"""Ends of the names of the linear modules that write back into the residual stream."""


def blocks_of(base: nn.Module) -> list[str]:
    """The names of the blocks, from the nearest to the input to the nearest to the head; an encoder's come first."""
    stacks: list[str] = []
    for name, module in base.named_modules():
        nested = any(name.startswith(f"{stack}.") for stack in stacks)
        if isinstance(module, nn.ModuleList) and name.rsplit(".", 1)[-1] in STACKS and not nested:
            stacks.append(name)
    return [f"{stack}.{index}" for stack in stacks for index, _ in base.get_submodule(stack).named_children()]


def tuned_blocks(base: nn.Module, layers: int) -> list[str]:
    """The `layers` blocks nearest to the head; all of them for 0.

    Raises:
        ModelError: If there are not as many.
    """
    blocks = blocks_of(base)
    if layers > len(blocks):
        raise ModelError(
            f"peft.layers: {layers} is above this model's {len(blocks)} layers; lower it, or use 0 for all"
        )
    return blocks[-layers:] if layers else blocks


def in_blocks(name: str, blocks: Collection[str]) -> bool:
    """Whether the parameter or module `name` lies in one of `blocks`."""
    return name.startswith(tuple(f"{block}." for block in blocks))


def target_names(base: nn.Module, targets: Collection[str], layers: int) -> list[str]:
    """The linear modules to adapt, as PEFT takes them: ends of names, or whole names where not all layers are tuned.

    Raises:
        ModelError: If the model has none of the targets, or fewer layers.
    """
    linear = _linear(base)
    ends = {name.rsplit(".", 1)[-1] for name in linear}
    found = []
    for target in targets:
        there = [name for name in (target, *OTHER_NAMES.get(target, ())) if name in ends]
        if not there:
            offered = ", ".join(sorted(ends - set(HEADS)))
            raise ModelError(f"peft.targets: this model has no linear module {target!r}; it has {offered}")
        found.append(there[0])
    blocks = tuned_blocks(base, layers)
    if not layers:
        return found
    return [name for name in linear if name.rsplit(".", 1)[-1] in found and in_blocks(name, blocks)]


def attention_outputs(base: nn.Module, layers: int) -> list[str]:
    """The last linear module of every tuned attention, whole names."""
    blocks = tuned_blocks(base, layers)
    return [name for name in _linear(base) if name.endswith(ATTENTION_OUT) and in_blocks(name, blocks)]


def feed_forward_outputs(base: nn.Module, layers: int) -> list[str]:
    """The last linear module of every tuned feed-forward layer, whole names.

    Raises:
        ModelError: If nothing is known of this model's.
    """
    blocks = tuned_blocks(base, layers)
    found = [
        name
        for name in _linear(base)
        if name.endswith(FEED_FORWARD_OUT) and not name.endswith(ATTENTION_OUT) and in_blocks(name, blocks)
    ]
    if not found:
        kind = getattr(base.config, "model_type", "this")
        raise ModelError(f'peft.method: nothing is known of the feed-forward layers of {kind} models; use "lora"')
    return found


def _linear(base: nn.Module) -> list[str]:
    return [name for name, module in base.named_modules() if isinstance(module, nn.Linear)]
