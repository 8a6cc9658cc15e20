"""Exact per-example rules for the layers of PEFT's that keep their parameters in a formula of their own."""

from collections.abc import Mapping

from peft.tuners.adalora.layer import SVDLinear
from peft.tuners.ia3.layer import Linear as IA3Linear
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.vera.layer import Linear as VeraLinear
from torch import nn

from dp.rules import GradientRule, whole_layer_rule
from fedpeft_secure.methods.state import named_trainable

WHOLE = (SVDLinear, IA3Linear, VeraLinear)
"""Layers whose parameters no module of their own applies."""


def rules_for(model: nn.Module) -> Mapping[type[nn.Module], GradientRule]:
    """The rules that `model` needs beyond those for plain layers, as `dp.persample.wrap` takes them.

    DoRA's layer is pulled back as a whole, because its magnitudes multiply what the factors make. Plain LoRA's is not:
    its factors are linear layers.
    """
    rules: dict[type[nn.Module], GradientRule] = dict.fromkeys(WHOLE, whole_layer_rule)
    if any("lora_magnitude_vector" in name for name in named_trainable(model)):
        rules[LoraLinear] = whole_layer_rule
    return rules
