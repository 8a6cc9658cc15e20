"""Adapters on disk: PEFT's format where PEFT has the method, else the same two files under a name of our own."""

import json
from dataclasses import replace
from pathlib import Path

from peft import PeftModel
from safetensors import safe_open
from torch import nn

from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods import bottleneck
from fedpeft_secure.methods.base import AdaptedModel
from fedpeft_secure.methods.base_delta import save_base
from fedpeft_secure.methods.lora_xs import as_factors
from fedpeft_secure.methods.prefixed import PrefixedModel
from fedpeft_secure.methods.selected import SelectedModel
from fedpeft_secure.methods.state import ADAPTER, PREFIX, named_trainable, spec_of, write_state
from fedpeft_secure.methods.vera import seeded_projections

CONFIG, VALUES = "adapter_config.json", "adapter_model.safetensors"

OWN_METHOD = "fedpeft_method"
"""The key that marks an adapter which PEFT cannot read."""


def save_adapter(model: AdaptedModel, state: AdapterState, folder: Path) -> None:
    """Writes `state`, without asking the network about the base model as PEFT's own writer does."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, SelectedModel):
        own = {OWN_METHOD: model.method, "base_model_name_or_path": model.public_name}
        (folder / CONFIG).write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8")
    else:
        with seeded_projections():
            replace(model.peft_config[ADAPTER], inference_mode=True).save_pretrained(str(folder))
    (folder / VALUES).write_bytes(_in_file(model, state).to_bytes())
    save_base(model, state, folder)


def _in_file(model: AdaptedModel, state: AdapterState) -> AdapterState:
    """The values of the adapter alone, without what strategies send beside it; cores as the factors that they make."""
    return as_factors(model, AdapterState({name: state[name] for name in named_trainable(model)}))


def load_adapter(base: nn.Module, folder: Path) -> AdaptedModel:
    """Loads an adapter onto its base model.

    Raises:
        ModelError: If an adapter of our own does not fit the model.
    """
    own = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if OWN_METHOD not in own:
        with seeded_projections():
            return PeftModel.from_pretrained(base, str(folder))
    with safe_open(str(folder / VALUES), framework="np") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 — no mapping
    if PREFIX in shapes:
        base = PrefixedModel(base, virtual_tokens=shapes[PREFIX][0])
    bottleneck.insert(
        base, bottleneck.saved_widths({name.removeprefix("base_model."): shapes[name] for name in shapes})
    )
    names = {name.removeprefix("base_model.") for name in shapes}
    if not names <= {name for name, _ in base.named_parameters()}:
        raise ModelError(f"{folder} is no adapter of this model; load the run's own base (models.load_base)")
    model = SelectedModel(base, selected=names, method=own[OWN_METHOD], public_name=own["base_model_name_or_path"])
    write_state(model, AdapterState.from_bytes((folder / VALUES).read_bytes(), spec_of(model)))
    return model
