"""DoRA: LoRA on the direction of every row of a weight, and a trained magnitude for each (Liu et al. 2024).

W' = m · (W + sBA) / ‖W + sBA‖, the norm taken over each row and, as in section 4.3 of the paper, held constant under
differentiation. It is a norm of parameters, not of examples, so that the gradients of examples stay apart.
"""

from dataclasses import replace

from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions
from fedpeft_secure.methods.lora import add_to, low_rank_config


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Adds low-rank factors and magnitudes to `base` and unfreezes its head; it starts as the model that it was.

    Raises:
        ModelError: If the model has none of the targets.
    """
    return add_to(base, replace(low_rank_config(base, options), use_dora=True), options)
