"""A model whose examples' gradients can be clipped one by one, and the choice of how."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from dp.capture import layers_with_rules
from dp.errors import BatchCoupled, UnsupportedParameter
from dp.oracle import split_examples
from dp.rules import EXACT_RULES, GradientRule
from dp.strategies import ByHooks, ByMicrobatches, ClippingStrategy, trainable_parameters


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PerExampleModule:
    """A model, how its gradients are clipped, and why so.

    One shared backbone serves every simulated client, plain training and evaluation alike: nothing is attached to the
    model, which behaves outside `dp.sgd.noisy_sum` as if it had never been wrapped.

    Args: strategy, reason: as announced in the log; reason in words.
    """

    model: nn.Module = field(repr=False)
    strategy: ClippingStrategy
    reason: str
    split: Callable[[Any], list[Any]] = field(repr=False)

    @property
    def description(self) -> str:
        """The strategy and the reason for it, in words, for the log."""
        return f"by {self.strategy.name} ({self.reason})"

    def trainable(self) -> dict[str, nn.Parameter]:
        """Returns the trainable parameters by name, in the model's order."""
        return trainable_parameters(self.model)

    def in_microbatches(self, reason: str) -> "PerExampleModule":
        """The same model, trained in batches of one."""
        return replace(self, strategy=ByMicrobatches(split=self.split), reason=reason)


def wrap(
    model: nn.Module,
    *,
    rules: Mapping[type[nn.Module], GradientRule] | None = None,
    split: Callable[[Any], list[Any]] = split_examples,
) -> PerExampleModule:
    """Makes per-example gradients of a model available; the model itself is not changed.

    By hooks where every trainable parameter's layer has an exact rule, else by batches of one; `dp.trial.tried` also
    finds out whether the rules really fit this model.

    Args: rules: exact per-example rules for further layer types; they get fp32 tensors. split: batch → batches of one.
    Raises: UnsupportedParameter if nothing is trainable; BatchCoupled.
    """
    refuse_batch_coupled(model)
    if not trainable_parameters(model):
        raise UnsupportedParameter("the model has no trainable parameter; attach an adapter first")
    known = {**EXACT_RULES, **(rules or {})}
    module = PerExampleModule(
        model=model,
        strategy=ByHooks(rules=known),
        reason="every layer that trains has an exact rule",
        split=split,
    )
    try:
        layers_with_rules(model, known)
    except UnsupportedParameter as error:
        return module.in_microbatches(str(error))
    return module


def refuse_batch_coupled(model: nn.Module) -> None:
    """Raises BatchCoupled if a layer computes statistics over the batch; frozen batch norm in eval mode is fine."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            raise BatchCoupled(
                f"{name} ({type(module).__name__}) mixes the examples of a batch; use group or layer norm, or freeze "
                "it and put it in evaluation mode"
            )
