"""LoRA and rsLoRA: trainable low-rank factors beside frozen linear layers (Hu et al. 2021; Kalajdzievski 2023)."""

from dataclasses import replace

import torch
from peft import LoraConfig, PeftConfig, get_peft_model
from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions, heads_of, seed_torch, set_public_name
from fedpeft_secure.methods.layers import target_names
from fedpeft_secure.methods.state import spec_of


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Adds trainable low-rank factors to `base` and unfreezes its head; A starts at random, B at zero.

    Raises:
        ModelError: If the model has none of the targets.
    """
    config = replace(low_rank_config(base, options), use_rslora=options.table.method == "rslora")
    return add_to(base, config, options)


def low_rank_config(base: nn.Module, options: MethodOptions) -> LoraConfig:
    """PEFT's configuration of plain LoRA.

    Raises:
        ModelError: If the model has none of the targets, or is narrower than the rank.
    """
    peft = options.table
    targets = target_names(base, peft.targets, peft.layers)
    check_rank(base, targets, peft.rank)
    return LoraConfig(
        r=peft.rank,
        lora_alpha=peft.alpha,
        lora_dropout=0.0,
        target_modules=targets,
        modules_to_save=heads_of(base),
    )


def add_to(base: nn.Module, config: PeftConfig, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Lets PEFT add what `config` says, from the seed."""
    set_public_name(base, options)
    with torch.random.fork_rng(devices=[]):
        seed_torch(options)
        model = get_peft_model(base, config)
    return model, spec_of(model)


def check_rank(base: nn.Module, targets: list[str], rank: int) -> None:
    """Refuses factors that are larger than what they stand for.

    Raises:
        ModelError: If `rank` is above the width of a target.
    """
    ends = tuple(f".{target}" for target in targets)
    for name, module in base.named_modules():
        if f".{name}".endswith(ends) and isinstance(module, nn.Linear):
            widest = min(module.in_features, module.out_features)
            if rank > widest:
                raise ModelError(f"peft.rank: {rank} is above {widest}, the width of {name}; use at most that")
