"""(IA)³: keys, values and feed-forward activations are rescaled by trained vectors (Liu et al. 2022)."""

from peft import IA3Config
from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions, heads_of
from fedpeft_secure.methods.layers import feed_forward_outputs, in_blocks, target_names, tuned_blocks
from fedpeft_secure.methods.lora import add_to


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Adds a vector of ones to the keys, values and feed-forward layers of `base` and unfreezes its head.

    Which modules these are is the method's: `peft.targets` does not count.

    Raises:
        ModelError: If nothing is known of the model's feed-forward layers.
    """
    layers = options.table.layers
    feed_forward = feed_forward_outputs(base, layers)
    ends = tuple(f".{end}" for end in target_names(base, ("key", "value"), 0))
    blocks = tuned_blocks(base, layers)
    attention = [
        name
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(ends) and in_blocks(name, blocks)
    ]
    config = IA3Config(
        target_modules=[*attention, *feed_forward],
        feedforward_modules=feed_forward,
        modules_to_save=heads_of(base),
    )
    return add_to(base, config, options)
