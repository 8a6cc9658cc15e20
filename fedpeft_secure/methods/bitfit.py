"""BitFit: the biases and the head are trained, nothing is added (Ben Zaken, Goldberg and Ravfogel 2022)."""

from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions, heads_of
from fedpeft_secure.methods.layers import in_blocks, tuned_blocks
from fedpeft_secure.methods.selected import SelectedModel
from fedpeft_secure.methods.state import spec_of


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Freezes all of `base` but its biases and its head; with `peft.layers`, the biases of the top layers.

    Raises:
        ModelError: If the model's layers have no biases (T5).
    """
    heads, layers = heads_of(base), options.table.layers
    blocks = tuned_blocks(base, layers)
    biases = {
        name
        for name, _ in base.named_parameters()
        if name.rsplit(".", 1)[-1] == "bias"
        and name.split(".", 1)[0] not in heads
        and (not layers or in_blocks(name, blocks))
    }
    if not biases:
        kind = getattr(base.config, "model_type", "this")
        raise ModelError(f'peft.method: {kind} models have no biases for BitFit to train; use "lora" or "prompt"')
    in_heads = {name for name, _ in base.named_parameters() if name.split(".", 1)[0] in heads}
    model = SelectedModel(base, selected=biases | in_heads, method="bitfit", public_name=options.public_name)
    return model, spec_of(model)
