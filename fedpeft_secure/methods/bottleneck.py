"""Bottleneck adapters: a narrow network with a skip connection behind every sublayer (Houlsby et al. 2019).

x + U·gelu(D·x), placed before the sublayer's own residual connection: behind attention and feed-forward ("houlsby"), or
behind the feed-forward layer alone ("pfeiffer", after Pfeiffer et al. 2021). U starts at zero, so that the model starts
as it was. PEFT has no such method.
"""

import torch
from torch import Tensor, nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions, heads_of, seed_torch
from fedpeft_secure.methods.layers import attention_outputs, feed_forward_outputs, in_blocks
from fedpeft_secure.methods.selected import SelectedModel
from fedpeft_secure.methods.state import BOTTLENECK, spec_of

START = 0.02
"""Standard deviation of the first D."""


class WithBottleneck(nn.Module):
    """A frozen linear layer and the adapter behind it.

    Args:
        layer: what it was.
        width: of the bottleneck, ≥ 1.
    """

    def __init__(self, layer: nn.Linear, *, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.adapter_down = nn.Linear(layer.out_features, width)
        self.adapter_up = nn.Linear(width, layer.out_features)
        nn.init.normal_(self.adapter_down.weight, std=START)
        for start_at_zero in (self.adapter_down.bias, self.adapter_up.weight, self.adapter_up.bias):
            nn.init.zeros_(start_at_zero)

    @property
    def weight(self) -> Tensor:
        """That of the layer: T5 reads its type."""
        return self.layer.weight

    def forward(self, x: Tensor) -> Tensor:
        """The layer's answer, corrected; shape (…, out)."""
        answer: Tensor = self.layer(x)
        corrected: Tensor = answer + self.adapter_up(nn.functional.gelu(self.adapter_down(answer)))
        return corrected


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Adds an adapter behind the sublayers of `base` and unfreezes its head.

    Raises:
        ModelError: If nothing is known of the model's sublayers.
    """
    peft = options.table
    places = feed_forward_outputs(base, peft.layers)
    if peft.placement == "houlsby":
        places += attention_outputs(base, peft.layers)
    with torch.random.fork_rng(devices=[]):
        seed_torch(options)
        insert(base, dict.fromkeys(places, peft.bottleneck))
    heads = heads_of(base)
    selected = [name for name, _ in base.named_parameters() if BOTTLENECK in name or in_blocks(name, heads)]
    model = SelectedModel(base, selected=selected, method="adapter", public_name=options.public_name)
    return model, spec_of(model)


def insert(base: nn.Module, widths: dict[str, int]) -> None:
    """Puts adapters behind the named linear modules of `base`.

    Raises:
        ModelError: If there is no such module.
    """
    for name, width in sorted(widths.items()):
        parent, _, own = name.rpartition(".")
        try:
            layer = base.get_submodule(name)
        except AttributeError:
            layer = None
        if not isinstance(layer, nn.Linear):
            raise ModelError(f"this model has no linear module {name!r}; load the run's own base (models.load_base)")
        setattr(base.get_submodule(parent), own, WithBottleneck(layer, width=width))


def saved_widths(shapes: dict[str, tuple[int, ...]]) -> dict[str, int]:
    """Module → width of its adapter, from a file's tensors by their names in the base model."""
    ending = f"{BOTTLENECK}down.weight"
    return {name.removesuffix(ending): shape[0] for name, shape in shapes.items() if name.endswith(ending)}
