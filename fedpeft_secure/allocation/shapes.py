"""What a cost depends on: the public shape of a model, and a client's choice of what it trains and how."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from fedpeft_secure.allocation.allotment import names_of
from fedpeft_secure.errors import ModelError
from fedpeft_secure.models import find_model

LOW_RANK = ("lora", "rslora")
METHODS = (*LOW_RANK, "bitfit", "head")
"""Methods whose costs are modelled; others are refused rather than guessed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    """A linear layer of one transformer layer: its name there and its widths."""

    name: str
    inputs: int
    outputs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """An encoder's public dimensions.

    Args:
        layers: transformer layers, all alike.
        width: of the hidden states.
        feed_forward: width between the two last linear layers of a layer.
        heads: of an attention.
        linears: the linear layers of one transformer layer.
        parameters: of the whole model, without head and adapter.
        classes: of the task.
    """

    layers: int
    width: int
    feed_forward: int
    heads: int
    linears: tuple[Linear, ...]
    parameters: int
    classes: int = 2

    @classmethod
    def of(cls, model: nn.Module, *, classes: int = 2) -> "ModelShape":
        """Reads the shape off a model without adapter or head; its values are not needed (meta tensors do).

        Raises:
            ModelError: If its layers are not those of an encoder that the cost model knows.
        """
        config: Any = model.config
        lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == config.num_hidden_layers]
        if config.model_type not in ("bert", "roberta", "distilbert") or not lists:
            raise ModelError(
                f"allocation: costs of models of type {config.model_type} are not modelled; use BERT, RoBERTa or "
                'DistilBERT, or allocation.strategy = "uniform"'
            )
        linears = tuple(
            Linear(name=name, inputs=module.in_features, outputs=module.out_features)
            for name, module in lists[0][0].named_modules()
            if isinstance(module, nn.Linear)
        )
        return cls(
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            feed_forward=max(linear.outputs for linear in linears),
            heads=config.num_attention_heads,
            linears=linears,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            classes=classes,
        )

    def adapted(self, targets: tuple[str, ...]) -> tuple[Linear, ...]:
        """The linear layers that `targets` name, in one transformer layer."""
        wanted = {name for target in targets for name in names_of(target)}
        return tuple(linear for linear in self.linears if linear.name.rsplit(".", 1)[-1] in wanted)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What a client trains, and in what portions.

    Args:
        method: one of METHODS.
        layers: tuned layers, from the output; 0 for the head alone.
        targets: modules with factors, as in `peft.targets`; of methods without factors, empty.
        rank: of the factors.
        trains_a: whether the factor A trains too, or B alone.
        batch: examples at once.
        length: tokens of a text.
        private: whether gradients are clipped one by one.
        adamw: whether the client's optimiser keeps two moments; SGD keeps nothing.

    Raises:
        ValueError: If the method is not modelled, or a number is not positive.
    """

    method: str
    layers: int
    targets: tuple[str, ...] = ("query", "value")
    rank: int = 8
    trains_a: bool = True
    batch: int = 32
    length: int = 64
    private: bool = True
    adamw: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"Choice.method: no cost is known of {self.method!r}; it can be {', '.join(METHODS)}")
        if min(self.batch, self.length, self.rank) < 1 or self.layers < 0:
            raise ValueError(f"Choice: batch, length and rank must be at least 1 and layers at least 0, got {self}")


@lru_cache(maxsize=16)
def load_shape(name: str, *, classes: int) -> ModelShape:
    """The shape of a pre-trained model, from its configuration file alone.

    Args:
        name: as `model.name`.
        classes: of the task.

    Raises:
        ModelError: If there is no such model or its costs are not modelled.
    """
    config = AutoConfig.from_pretrained(find_model(name).location, trust_remote_code=False)
    with torch.device("meta"):
        settings = {"add_pooling_layer": False} if config.model_type in ("bert", "roberta") else {}
        model = AutoModel.from_config(config, trust_remote_code=False, **settings)
    return ModelShape.of(model, classes=classes)
