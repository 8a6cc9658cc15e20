"""Per-example gradients by hooks: each layer's inputs and the gradient at its output, and an exact rule for the layer.

Opacus' own hooks keep their state on the modules and parameters, match activations to gradients by last-in-first-out
order and run in plain training too. Here each forward call carries its own inputs to its own gradient, nothing is
stored on the shared backbone, and outside `capturing` nothing runs at all. The rules get fp32, whatever autocast the
forward pass used.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from dp.errors import NotPerExample, UnsupportedParameter
from dp.ghost import ghost_pays
from dp.gradients import ExampleGradients, Factors, Rows
from dp.rules import GradientRule, linear_rule, one_middle, whole_layer_rule


class FactorRule(Protocol):
    """Whether a linear layer's gradients stay factors; see `dp.ghost.ghost_pays`."""

    def __call__(self, *, batch: int, tokens: int, inputs: int, outputs: int) -> bool:
        """Args: batch: examples. tokens: of each example. inputs, outputs: the layer's widths."""
        ...


_UNEXPLAINED = 0.05  # share of the batch's gradient that hooks may miss: bf16 rounding stays far below
_ROUNDED = 0.01  # the same as a share of all parameters' gradients, for those whose true gradient is zero


class Capture:
    """One forward and backward pass's gradients.

    Args: model: any. rules: layer type → exact rule. keep_factors: decides for each linear layer and batch.
    """

    def __init__(
        self, model: nn.Module, rules: Mapping[type[nn.Module], GradientRule], keep_factors: FactorRule = ghost_pays
    ) -> None:
        self._layers = layers_with_rules(model, rules)
        self._rules = rules
        self._keep_factors = keep_factors
        self._found: dict[Tensor, ExampleGradients] = {}
        self._in_rule = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this block a forward and backward pass stores each parameter's per-example gradients."""
        handles = [layer.register_forward_hook(self._watch) for layer in self._layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def take(self, trainable: Mapping[str, nn.Parameter], batch_size: int) -> dict[str, ExampleGradients]:
        """Hands over what was stored.

        Guarantee: every parameter has one gradient for each of the `batch_size` examples.
        Raises: NotPerExample.
        """
        taken: dict[str, ExampleGradients] = {}
        for name, parameter in trainable.items():
            found = self._found.pop(parameter, None)
            if found is None:
                raise NotPerExample(
                    f"{name} got no per-example gradient: the loss does not reach it, or it is used outside its own "
                    "layer; freeze it, or hand a rule for the layer that uses it to `wrap`"
                )
            if found.shape != (batch_size, *parameter.shape):
                raise NotPerExample(
                    f"{name} has per-example gradients of shape {found.shape} for {batch_size} examples: it is "
                    "shared over the batch, which would be clipped as one example; hand a rule for its layer to `wrap`"
                )
            taken[name] = found
        return taken

    def _watch(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if self._in_rule or not (torch.is_grad_enabled() and output.requires_grad):
            return
        seen = [t.detach() for t in inputs]

        def capture(backprops: Tensor) -> None:
            with torch.no_grad(), torch.autocast(backprops.device.type, enabled=False):
                self._store(layer, [_fp32(t) for t in seen], _fp32(backprops.detach()))

        output.register_hook(capture)  # type: ignore[no-untyped-call]

    def _store(self, layer: nn.Module, inputs: list[Tensor], backprops: Tensor) -> None:
        rule = self._rules[type(layer)]
        if rule is linear_rule and isinstance(layer, nn.Linear) and self._stays_factors(layer, inputs[0]):
            self._add(layer.weight, Factors(inputs=one_middle(inputs[0]), backprops=one_middle(backprops)))
            if layer.bias is not None and layer.bias.requires_grad:
                self._add(layer.bias, Rows(one_middle(backprops).sum(dim=1)))
            return
        self._in_rule = True  # a rule may run its layer, which is no use of it
        try:
            gradients = rule(layer, inputs, backprops)
        finally:
            self._in_rule = False
        for parameter, gradient in gradients.items():
            self._add(parameter, Rows(gradient.float()))

    def _stays_factors(self, layer: nn.Linear, inputs: Tensor) -> bool:
        tokens = inputs[0, ..., 0].numel() if inputs.shape[0] else 0
        return layer.weight.requires_grad and self._keep_factors(
            batch=inputs.shape[0], tokens=tokens, inputs=layer.in_features, outputs=layer.out_features
        )

    def _add(self, parameter: Tensor, gradients: ExampleGradients) -> None:
        earlier = self._found.get(parameter)
        if earlier is None:
            self._found[parameter] = gradients
            return
        if earlier.shape != gradients.shape:
            raise NotPerExample(
                f"a shared parameter of shape {tuple(parameter.shape)} is used with batches of {earlier.shape[0]} and "
                f"{gradients.shape[0]}; hand a rule for its layer to `wrap`"
            )
        # A layer used twice: the norm of a sum is no sum of norms.
        self._found[parameter] = Rows(earlier.rows() + gradients.rows())


def layers_with_rules(model: nn.Module, rules: Mapping[type[nn.Module], GradientRule]) -> list[nn.Module]:
    """The layers that own trainable parameters now, or hold them where `whole_layer_rule` speaks for all inside.

    Raises: UnsupportedParameter for a parameter that no rule speaks for, or when nothing is trainable.
    """
    layers: list[nn.Module] = []
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if name.startswith(inside):
            continue
        if rules.get(type(module)) is whole_layer_rule and any(p.requires_grad for p in module.parameters()):
            layers.append(module)
            inside += (f"{name}." if name else "",)
            continue
        owned = [own for own, p in module.named_parameters(recurse=False) if p.requires_grad]
        if owned and type(module) not in rules:
            raise UnsupportedParameter(
                f"{name or 'the model'} ({type(module).__name__}) owns {', '.join(owned)} without an exact "
                "per-example rule; hand one to `wrap`, or train it in batches of one"
            )
        layers += [module] if owned else []
    if not layers:
        raise UnsupportedParameter("the model has no trainable parameter; attach an adapter first")
    return layers


def refuse_unexplained(trainable: Mapping[str, nn.Parameter], gradients: Mapping[str, ExampleGradients]) -> None:
    """Raises NotPerExample where the rows do not add up to autograd's gradient: a use that no hook saw."""
    gaps = {
        name: gradients[name].gap_to(parameter.grad)
        for name, parameter in trainable.items()
        if parameter.grad is not None
    }
    # Some gradients are nothing but rounding: a softmax over keys does not notice their bias.
    whole = sum((scale.square() for _, scale in gaps.values() if torch.isfinite(scale)), torch.tensor(0.0)).sqrt()
    for name, (missed, scale) in gaps.items():
        if torch.isfinite(missed) and missed > _UNEXPLAINED * scale + _ROUNDED * whole.to(scale.device):
            raise NotPerExample(
                f"the per-example gradients of {name} do not add up to its gradient: it is also used outside its own "
                "layer; hand a rule for that layer to `wrap`"
            )


def _fp32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
