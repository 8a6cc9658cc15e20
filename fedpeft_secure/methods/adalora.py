"""AdaLoRA: LoRA in the form of a singular value decomposition, P Λ Q, whose ranks are pruned (Zhang et al. 2023).

PEFT's own allocator scores triplets by each step's gradients, and its regulariser hides in the loss. Neither would be
private here, nor could a client decide on its own: clients train P, Λ and Q, and `aggregation.adalora` scores, prunes
and keeps the factors orthogonal on the server, from the noised mean alone. Without that strategy nothing is pruned.
"""

from peft import AdaLoraConfig
from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions, heads_of
from fedpeft_secure.methods.layers import target_names
from fedpeft_secure.methods.lora import add_to, check_rank

ROUNDS = 1
"""PEFT asks for the length of a schedule that never runs."""


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Adds singular triplets to `base` and unfreezes its head; the singular values start at zero.

    Raises:
        ModelError: If the model has none of the targets, or is narrower than the rank.
    """
    peft = options.table
    targets = target_names(base, peft.targets, peft.layers)
    check_rank(base, targets, peft.rank)
    config = AdaLoraConfig(
        init_r=peft.rank,
        target_r=peft.rank,
        lora_alpha=peft.alpha,
        lora_dropout=0.0,
        target_modules=targets,
        modules_to_save=heads_of(base),
        orth_reg_weight=0.0,
        total_step=ROUNDS,
    )
    return add_to(base, config, options)
