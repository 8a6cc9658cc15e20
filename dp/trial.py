"""A trial before training: do the hooks give this model's true per-example gradients?"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from dp.errors import NotPerExample, UnsupportedParameter
from dp.ghost import ghost_pays
from dp.gradients import Factors
from dp.oracle import largest_deviation, per_example_gradients, refuse_coupled_loss
from dp.persample import PerExampleModule
from dp.strategies import ByHooks, PerExampleLoss, trainable_parameters

TOLERANCE = 1e-3
"""Largest deviation from the oracle, relative to an example's gradient, that is put down to fp32 rounding.

A wrong rule is off by a tenth and more; an example that the model happens to be sure of has a small, rounded gradient.
"""

_AWAY = 0.1


def tried(module: PerExampleModule, batch: Any, loss: PerExampleLoss[Any], *, physical_batch: int) -> PerExampleModule:
    """Compares the hooks with the oracle on one batch; where they are not exact, batches of one take their place.

    The parameters are moved at random for the trial, because many start at zero and hide each other's gradients, and
    put back bit for bit.

    Args: batch: *public*, two different examples or more. loss: in fp32. physical_batch: examples of a training batch.
    Returns: a module whose `strategy` gives the oracle's gradients, and whose `reason` says how it was chosen.
    Raises: BatchCoupled if an example's loss depends on the others.
    """
    with _moved_away(module.model):
        refuse_coupled_loss(module.model, batch, loss, split=module.split)
        if not isinstance(module.strategy, ByHooks):
            return module
        truth = per_example_gradients(module.model, batch, loss, split=module.split)

        def as_in_training(*, batch: int, tokens: int, inputs: int, outputs: int) -> bool:
            del batch  # the trial's own, which is smaller
            return ghost_pays(batch=physical_batch, tokens=tokens, inputs=inputs, outputs=outputs)

        try:
            hooks = replace(module.strategy, keep_factors=as_in_training)
            _, found = hooks.gradients(module.model, batch, loss)
        except (NotPerExample, UnsupportedParameter) as error:
            return module.in_microbatches(str(error))
    deviation = largest_deviation({name: g.rows() for name, g in found.items()}, truth)
    if deviation > TOLERANCE:
        return module.in_microbatches(f"hooks deviate from one example at a time by {deviation:.1g} on a public batch")
    ghosts = sum(isinstance(g, Factors) for g in found.values())
    clipped = f"; {ghosts} of {len(found)} parameters by ghost clipping" if ghosts else ""
    return replace(module, reason=f"{deviation:.0e} from one example at a time on a public batch{clipped}")


@contextmanager
def _moved_away(model: nn.Module) -> Iterator[None]:
    parameters = list(trainable_parameters(model).values())
    before = [p.detach().clone() for p in parameters]
    generator = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(_AWAY * torch.randn(parameter.shape, generator=generator).to(parameter))
        yield
    finally:
        with torch.no_grad():
            for parameter, values in zip(parameters, before, strict=True):
                parameter.copy_(values)
