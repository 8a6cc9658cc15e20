"""PEFT methods: base model + method → adapted model + public structure. The only module that imports peft."""

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role
from fedpeft_secure.config import PeftTable
from fedpeft_secure.errors import ModelError

AdaptedModel: TypeAlias = PeftModel
"""A base model with an adapter, for annotations elsewhere."""

ADAPTER = "default"

HEADS = ("classifier", "pre_classifier", "classification_head", "score")
"""What transformers calls the parts of a classification head."""

TARGETS = {
    "distilbert": {"query": "q_lin", "value": "v_lin", "key": "k_lin"},
    "t5": {"query": "q", "value": "v", "key": "k"},
}
"""Architectures whose attention modules have other names than BERT's: model type → our name → theirs."""


def wrap(base: nn.Module, peft: PeftTable, *, public_name: str, seed: int) -> tuple[AdaptedModel, AdapterSpec]:
    """Adds trainable low-rank factors to `base` and unfreezes its head.

    Args:
        base: a classifier of `models.load_classifier`.
        peft: the `[peft]` table.
        public_name: written into the adapter as the base model's name; no local path.
        seed: of the factors' random start (A; B starts at zero).

    Returns:
        The adapted model (factors and head trainable, all else frozen) and the structure of its adapter.

    Raises:
        ModelError: If the model has none of the targets.
    """
    targets = _targets(base, peft)
    _check_rank(base, targets, peft.rank)
    heads = [name for name, _ in base.named_children() if name in HEADS]
    config = LoraConfig(
        r=peft.rank,
        lora_alpha=peft.alpha,
        lora_dropout=0.0,
        target_modules=targets,
        modules_to_save=heads,
        use_rslora=peft.method == "rslora",
    )
    base.__dict__["name_or_path"] = public_name  # PEFT writes this attribute into the adapter's file
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        model = get_peft_model(base, config)
    return model, spec_of(model)


def spec_of(model: nn.Module) -> AdapterSpec:
    """The structure of the trainable part of `model`, under the names of PEFT's file format."""
    entries = [
        Entry(name=public, shape=tuple(parameter.shape), role=_role(public), module=_module(public))
        for public, parameter in named_trainable(model).items()
    ]
    return AdapterSpec(entries=tuple(sorted(entries, key=lambda entry: entry.name)))


def named_trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters by public name: trainable ones and frozen factors alike."""
    return {
        public_name(name): parameter
        for name, parameter in model.named_parameters()
        if f".{ADAPTER}." in name or name.endswith(f".{ADAPTER}")
    }


def read_state(model: nn.Module) -> AdapterState:
    """Copies the adapter's values out of `model`."""
    return AdapterState({name: value.detach().float().cpu().numpy() for name, value in named_trainable(model).items()})


@torch.no_grad()
def write_state(model: nn.Module, state: AdapterState) -> None:
    """Copies `state` into the adapter of `model`."""
    for name, parameter in named_trainable(model).items():
        parameter.copy_(torch.from_numpy(state[name].copy()))


def train_only(model: nn.Module, spec: AdapterSpec) -> None:
    """Lets exactly the tensors of `spec` require gradients: a strategy may freeze one factor."""
    wanted = set(spec.names)
    for name, parameter in named_trainable(model).items():
        parameter.requires_grad_(name in wanted)


def save_adapter(model: AdaptedModel, state: AdapterState, folder: Path) -> None:
    """Writes `state` in PEFT's format, without asking the network about the base model as PEFT's own writer does."""
    folder.mkdir(parents=True, exist_ok=True)
    config = replace(model.peft_config[ADAPTER], inference_mode=True)
    config.save_pretrained(str(folder))
    (folder / "adapter_model.safetensors").write_bytes(state.to_bytes())


def load_adapter(base: nn.Module, folder: Path) -> AdaptedModel:
    """Loads an adapter in PEFT's format onto its base model."""
    return PeftModel.from_pretrained(base, str(folder))


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


def _role(public_name: str) -> Role:
    if ".lora_A." in public_name:
        return Role.LORA_A
    return Role.LORA_B if ".lora_B." in public_name else Role.HEAD


def _module(public_name: str) -> str:
    levels = 1 if _role(public_name) is Role.HEAD else 2
    return public_name.rsplit(".", levels)[0]


def public_name(name: str) -> str:
    """The name in PEFT's file format: without the adapter's name and the wrapper of saved modules."""
    return name.replace(f".{ADAPTER}", "").replace(".modules_to_save", "")
