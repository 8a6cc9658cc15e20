"""Full fine-tuning: every parameter is trained and sent; a baseline for all that is smaller."""

from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions, heads_of
from fedpeft_secure.methods.layers import in_blocks, tuned_blocks
from fedpeft_secure.methods.selected import SelectedModel
from fedpeft_secure.methods.state import spec_of


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Unfreezes all of `base`; with `peft.layers` the blocks nearest to the head, and the head.

    Raises:
        ModelError: If the model has fewer layers.
    """
    blocks, heads = tuned_blocks(base, options.table.layers), heads_of(base)
    names = {name for name, _ in base.named_parameters()}
    if options.table.layers:
        names = {name for name in names if in_blocks(name, [*blocks, *heads])}
    model = SelectedModel(base, selected=names, method="full", public_name=options.public_name)
    return model, spec_of(model)
