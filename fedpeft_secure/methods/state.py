"""The adapter inside a model: which parameters it is, under what public names, and its values."""

import torch
from peft import PeftModel
from torch import nn

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role
from fedpeft_secure.methods.base import HEADS
from fedpeft_secure.methods.base_delta import write_base
from fedpeft_secure.methods.selected import SelectedModel

ADAPTER = "default"
"""The name that PEFT gives the one adapter of a model."""

PROMPT = "prompt_encoder.embedding.weight"
PROMPT_IN_FILE = "prompt_embeddings"
"""Virtual tokens and prefixes have another name in PEFT's file than in its model."""

MAGNITUDE, WEIGHT = ".lora_magnitude_vector", ".weight"
"""So are DoRA's magnitudes."""

PREFIX = "base_model.prefix.weight"
"""A prefix of our own."""

BOTTLENECK = ".adapter_"
"""In the names of all that a bottleneck adapter adds."""

CORE = ".core.weight"
"""The end of the name of what LoRA-XS trains, inside what stands in the place of LoRA's B."""

RANK_COUNT = f".ranknum.{ADAPTER}"
"""AdaLoRA's constant number of triplets, a parameter that nobody trains."""


def spec_of(model: nn.Module) -> AdapterSpec:
    """The structure of the adapter of `model`, under the names of PEFT's file format."""
    entries = [
        Entry(name=public, shape=tuple(parameter.shape), role=_role(public), module=_module(public))
        for public, parameter in named_trainable(model).items()
    ]
    return AdapterSpec(entries=tuple(sorted(entries, key=lambda entry: entry.name)))


def named_trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters by public name: trainable ones and frozen factors alike."""
    if isinstance(model, SelectedModel):
        return {name: parameter for name, parameter in model.named_parameters() if name in model.selected}
    return {
        public_name(name): parameter
        for name, parameter in model.named_parameters()
        if (f".{ADAPTER}." in name or name.endswith(f".{ADAPTER}")) and not name.endswith(RANK_COUNT)
    }


def read_state(model: nn.Module) -> AdapterState:
    """Copies the adapter's values out of `model`."""
    return AdapterState({name: value.detach().float().cpu().numpy() for name, value in named_trainable(model).items()})


@torch.no_grad()
def write_state(model: nn.Module, state: AdapterState) -> None:
    """Copies `state` into the adapter of `model`, and changes of its base weights into these."""
    write_base(model, state)
    for name, parameter in named_trainable(model).items():
        parameter.copy_(torch.from_numpy(state[name].copy()))


def train_only(model: nn.Module, spec: AdapterSpec) -> None:
    """Lets exactly the tensors of `spec` require gradients: a strategy may freeze one factor."""
    wanted = set(spec.names)
    for name, parameter in named_trainable(model).items():
        parameter.requires_grad_(name in wanted)


def base_values(model: nn.Module) -> int:
    """How many values the base model has with its head: what full fine-tuning would send."""
    everything = sum(parameter.numel() for name, parameter in model.named_parameters() if not name.endswith(RANK_COUNT))
    if not isinstance(model, PeftModel):
        added = [value for name, value in model.named_parameters() if name == PREFIX or BOTTLENECK in name]
        return everything - sum(parameter.numel() for parameter in added)
    # PEFT keeps the original of the trained head, so without the adapter what is left is the model with its head.
    return everything - spec_of(model).size


def public_name(name: str) -> str:
    """The name in PEFT's file format: without the adapter's name and the wrapper of saved modules."""
    public = name.replace(f".{ADAPTER}", "").replace(".modules_to_save", "")
    if public.endswith(MAGNITUDE + WEIGHT):
        return public.removesuffix(WEIGHT)
    return PROMPT_IN_FILE if public == PROMPT else public


def _role(public: str) -> Role:
    if public.endswith(CORE):
        return Role.BODY
    if ".lora_A." in public:
        return Role.LORA_A
    if ".lora_B." in public:
        return Role.LORA_B
    return Role.HEAD if set(public.split(".")) & set(HEADS) else Role.BODY


def _module(public: str) -> str:
    levels = 2 if _role(public) in (Role.LORA_A, Role.LORA_B) else 1
    return public.rsplit(".", levels)[0]
