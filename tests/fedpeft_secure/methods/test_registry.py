from pathlib import Path
from typing import get_args

import pytest
from torch import nn

from fedpeft_secure import methods, models
from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.config import ModelConfig, PeftTable
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.errors import ConfigError, ModelError


def head_only(base: nn.Module, options: methods.MethodOptions) -> tuple[methods.AdaptedModel, AdapterSpec]:
    """Somebody's own method, in one function."""
    selected = {name for name, _ in base.named_parameters() if name.split(".")[0] in methods.heads_of(base)}
    model = methods.SelectedModel(base, selected=selected, method="head", public_name=options.public_name)
    return model, methods.spec_of(model)


def wrapped(method: str, path: Path) -> AdapterSpec:
    base = models.load_classifier(ModelConfig(name=str(path)), num_labels=2, seed=1)
    return methods.wrap(base, PeftTable(method=method), public_name="x", seed=1)[1]


def test_the_configuration_names_exactly_these_methods() -> None:
    named = {
        name
        for part in get_args(PeftTable.model_fields["method"].annotation)
        for name in get_args(part)
        if isinstance(name, str)
    }
    assert named == set(methods.METHODS)


def test_a_method_of_ones_own(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    spec = wrapped("test_registry:head_only", tiny_bert)
    assert spec.names == ("base_model.classifier.bias", "base_model.classifier.weight")


@pytest.mark.parametrize("name", ["no_such_package:wrap", "fedpeft_secure.methods:no_such"])
def test_a_method_that_is_not_there(name: str, tiny_bert: Path) -> None:
    with pytest.raises(ModelError, match=r"^peft.method: cannot use"):
        wrapped(name, tiny_bert)


def test_a_misspelt_method_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigError, match=r"^peft.method: should be 'lora', 'rslora', .* or 'head', got"):
        parse_config({"peft": {"method": "bitfitt"}})
