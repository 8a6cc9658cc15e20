"""LoRA and rsLoRA: trainable low-rank factors beside frozen linear layers (Hu et al. 2021; Kalajdzievski 2023)."""

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.config import PeftTable
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods.base import HEADS, AdaptedModel, MethodOptions, heads_of, seed_torch, set_public_name
from fedpeft_secure.methods.state import spec_of

TARGETS = {
    "distilbert": {"query": "q_lin", "value": "v_lin", "key": "k_lin"},
    "t5": {"query": "q", "value": "v", "key": "k"},
}
"""Architectures whose attention modules have other names than BERT's: model type → our name → theirs."""


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Adds trainable low-rank factors to `base` and unfreezes its head; A starts at random, B at zero.

    Raises:
        ModelError: If the model has none of the targets.
    """
    peft = options.table
    targets = _targets(base, peft)
    _check_rank(base, targets, peft.rank)
    config = LoraConfig(
        r=peft.rank,
        lora_alpha=peft.alpha,
        lora_dropout=0.0,
        target_modules=targets,
        modules_to_save=heads_of(base),
        use_rslora=peft.method == "rslora",
    )
    set_public_name(base, options)
    with torch.random.fork_rng(devices=[]):
        seed_torch(options)
        model = get_peft_model(base, config)
    return model, spec_of(model)


def _targets(base: nn.Module, peft: PeftTable) -> list[str]:
    names = TARGETS.get(getattr(base.config, "model_type", ""), {})
    targets = [names.get(target, target) for target in peft.targets]
    linear = {name.rsplit(".", 1)[-1] for name, module in base.named_modules() if isinstance(module, nn.Linear)}
    missing = [target for target in targets if target not in linear]
    if missing:
        offered = ", ".join(sorted(linear - set(HEADS)))
        raise ModelError(f"peft.targets: this model has no linear module {missing[0]!r}; it has {offered}")
    return targets


def _check_rank(base: nn.Module, targets: list[str], rank: int) -> None:
    for name, module in base.named_modules():
        if name.rsplit(".", 1)[-1] in targets and isinstance(module, nn.Linear):
            widest = min(module.in_features, module.out_features)
            if rank > widest:
                raise ModelError(f"peft.rank: {rank} is above {widest}, the width of {name}; use at most that")
