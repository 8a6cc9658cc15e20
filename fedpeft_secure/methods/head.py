"""Head only: the classification head on a frozen model, the smallest baseline."""

from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions, heads_of
from fedpeft_secure.methods.layers import in_blocks
from fedpeft_secure.methods.selected import SelectedModel
from fedpeft_secure.methods.state import spec_of


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Freezes all of `base` but its head.

    Raises:
        ModelError: If it has none, because it answers in words.
    """
    heads = heads_of(base)
    if not heads:
        raise ModelError('peft.method: a model that answers in words has no head; use "lora" or "prompt"')
    names = {name for name, _ in base.named_parameters() if in_blocks(name, heads)}
    model = SelectedModel(base, selected=names, method="head", public_name=options.public_name)
    return model, spec_of(model)
