"""Per-example gradients of a model's trainable parameters: Opacus' exact rules, captured only when asked.

Opacus' own hooks keep their state on the modules and parameters, match activations to gradients by last-in-first-out
order and run in plain training too. Here each forward call carries its own inputs to its own gradient, nothing is
stored on the shared backbone, and outside `capturing` nothing runs at all. The rules are Opacus', in fp32.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn

from dp.errors import BatchCoupled, NotPerExample, UnsupportedParameter

GradientRule = Callable[[Any, list[Tensor], Tensor], dict[nn.Parameter, Tensor]]
"""(layer, its inputs (batch, …), gradient at its output (batch, …)) → one gradient for each example and parameter."""


def linear_rule(layer: nn.Linear, inputs: list[Tensor], backprops: Tensor) -> dict[nn.Parameter, Tensor]:
    """Per-example gradients of a linear layer by one batched matrix product.

    Args: inputs: [(batch, …, in)]. backprops: (batch, …, out), gradient of the sum of the losses.
    Returns: weight → (batch, out, in) and bias → (batch, out), as far as they are trainable.
    """
    gradients: dict[nn.Parameter, Tensor] = {}
    out_BLO = _one_middle(backprops)
    weight, bias = layer._parameters["weight"], layer._parameters["bias"]
    if weight is not None and weight.requires_grad:
        gradients[weight] = torch.bmm(out_BLO.transpose(1, 2), _one_middle(inputs[0]))
    if bias is not None and bias.requires_grad:
        gradients[bias] = out_BLO.sum(dim=1)
    return gradients


def embedding_rule(layer: nn.Embedding, inputs: list[Tensor], backprops: Tensor) -> dict[nn.Parameter, Tensor]:
    """Opacus' rule for embeddings, with the padding row left out as autograd does."""
    found: dict[nn.Parameter, Tensor] = GradSampleModule.GRAD_SAMPLERS[nn.Embedding](layer, inputs, backprops)
    if layer.padding_idx is not None:
        for rows in found.values():
            rows[:, layer.padding_idx] = 0
    return found


class PerExampleModule:
    """A model whose backward pass can also give one gradient for each example.

    One shared backbone serves every simulated client, plain training and evaluation alike: without `capturing` the
    model behaves as if it had never been wrapped.
    """

    def __init__(self, model: nn.Module, rules: Mapping[type[nn.Module], GradientRule]) -> None:
        """Use `wrap`."""
        self.model = model
        self._rules: dict[type[nn.Module], GradientRule] = {
            **GradSampleModule.GRAD_SAMPLERS,
            nn.Linear: linear_rule,
            nn.Embedding: embedding_rule,
            **rules,
        }
        self._rows: dict[nn.Parameter, Tensor] = {}
        self._layers()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Returns the trainable parameters by name, in the model's order."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Within this block a forward and backward pass stores each parameter's per-example gradients.

        Raises: UnsupportedParameter for a trainable parameter whose layer has no exact rule.
        """
        handles = [layer.register_forward_hook(self._watch) for layer in self._layers()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._rows.clear()

    def take(self, batch_size: int) -> dict[str, Tensor]:
        """Hands over the per-example gradients of the last backward pass, and forgets them.

        Guarantee: every tensor has one row for each of the `batch_size` examples and the parameter's own shape.
        Returns: name → (batch, *parameter), float32.
        Raises: NotPerExample.
        """
        taken: dict[str, Tensor] = {}
        for name, parameter in self.trainable().items():
            rows = self._rows.pop(parameter, None)
            if rows is None:
                raise NotPerExample(
                    f"{name} got no per-example gradient: the loss does not reach it, or it is used outside its own "
                    "layer; freeze it, or hand a rule for the layer that uses it to `wrap`"
                )
            if rows.shape != (batch_size, *parameter.shape):
                raise NotPerExample(
                    f"{name} has per-example gradients of shape {tuple(rows.shape)} for {batch_size} examples: it is "
                    "shared over the batch, which would be clipped as one example; hand a rule for its layer to `wrap`"
                )
            taken[name] = rows
        return taken

    def _layers(self) -> list[nn.Module]:
        """The layers that own trainable parameters now; every one has a rule."""
        layers = []
        for name, module in self.model.named_modules():
            owned = [own for own, p in module.named_parameters(recurse=False) if p.requires_grad]
            if owned and type(module) not in self._rules:
                raise UnsupportedParameter(
                    f"{name or 'the model'} ({type(module).__name__}) owns {', '.join(owned)} without an exact "
                    "per-example rule; hand one to `wrap`, or choose a method that trains linear layers (LoRA)"
                )
            layers += [module] if owned else []
        if not layers:
            raise UnsupportedParameter("the model has no trainable parameter; attach an adapter first")
        return layers

    def _watch(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not (torch.is_grad_enabled() and output.requires_grad):
            return
        seen = [t.detach() for t in inputs]

        def capture(backprops: Tensor) -> None:
            with torch.no_grad(), torch.autocast(backprops.device.type, enabled=False):
                rows = self._rules[type(layer)](layer, [_fp32(t) for t in seen], _fp32(backprops.detach()))
            for parameter, gradient in rows.items():
                self._add(parameter, gradient.float())

        output.register_hook(capture)  # type: ignore[no-untyped-call]

    def _add(self, parameter: nn.Parameter, gradient: Tensor) -> None:
        earlier = self._rows.get(parameter)
        if earlier is not None and earlier.shape != gradient.shape:
            raise NotPerExample(
                f"a shared parameter of shape {tuple(parameter.shape)} is used with batches of {earlier.shape[0]} and "
                f"{gradient.shape[0]}; hand a rule for its layer to `wrap`"
            )
        self._rows[parameter] = gradient if earlier is None else earlier + gradient


def wrap(model: nn.Module, *, rules: Mapping[type[nn.Module], GradientRule] | None = None) -> PerExampleModule:
    """Makes per-example gradients of a model available; the model itself is not changed.

    Args: rules: exact per-example rules for further layer types; they get fp32 tensors.
    Raises: UnsupportedParameter for a trainable parameter whose layer has no exact rule; BatchCoupled.
    """
    refuse_batch_coupled(model)
    return PerExampleModule(model, rules or {})


def refuse_batch_coupled(model: nn.Module) -> None:
    """Raises BatchCoupled if a layer computes statistics over the batch; frozen batch norm in eval mode is fine."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            raise BatchCoupled(
                f"{name} ({type(module).__name__}) mixes the examples of a batch; use group or layer norm, or freeze "
                "it and put it in evaluation mode"
            )


def _one_middle(tensor: Tensor) -> Tensor:
    """(batch, …, dim) → (batch, anything, dim); an empty batch stays one."""
    return tensor.unsqueeze(1) if tensor.dim() == 2 else tensor.flatten(1, -2)


def _fp32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
