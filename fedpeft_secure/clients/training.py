"""Local training: a client's steps on its own examples, noised before anything is derived from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

import dp.noise
import dp.sampling
import dp.sgd
from fedpeft_secure import methods
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.plans import RoundPlan


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LocalUpdate:
    """A client's private result: it never leaves the client in this form.

    Args:
        delta: change of each trained tensor, by name.
        mean_gradient: of its steps, before anything is added to it; noised where the client is private.
        examples: how many examples were processed; private.
    """

    delta: Mapping[str, np.ndarray] = field(repr=False)
    mean_gradient: Mapping[str, np.ndarray] = field(repr=False)
    examples: int = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LocalTask:
    """What a client trains with: the public plan, its own noise multiplier and its own randomness.

    `masks` are 1 where factors may change, by name; the others stay as they are, whatever noise would do to them.
    `correction` is added to the gradient of every step: c − c_k of SCAFFOLD. `bound_gradients` is what holds a mean
    gradient without noise: whole updates that are clipped later need nothing.
    """

    plan: RoundPlan
    trained: AdapterSpec
    noise_multiplier: float
    sampling: dp.sampling.Sampler
    noise: dp.noise.Gaussian
    physical_batch: int
    bound_gradients: Literal["clip_norm", "nothing"] = "clip_norm"
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    correction: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)


def train_locally(backbone: Backbone, state: AdapterState, examples: Examples, task: LocalTask) -> LocalUpdate:
    """Runs the local steps of a round from `state`, held near it by the plan's proximal term.

    The term is FedProx's, μ/2 ‖w − w_start‖² (Li et al. 2020, *Federated Optimization in Heterogeneous Networks*,
    Algorithm 2): its gradient depends on noised steps only.

    Guarantee: with noise_multiplier > 0 each step sees the examples only through one noised sum of clipped
    per-example gradients over a Poisson sample, so that the whole update is post-processing of
    `local_steps` sampled Gaussian mechanisms; a step whose sample is empty releases pure noise.
    Assumes: the plan's sample_rate, groups, clip_norm, nominal_batch and step count are public.
    Does not cover: noise that comes from seeds (simulation).
    """
    backbone.load(state)
    methods.train_only(backbone.model, task.trained)
    parameters = {name: value for name, value in methods.named_trainable(backbone.model).items() if value.requires_grad}
    optimizer = _optimizer(task.plan, list(parameters.values()))
    backbone = backbone.training_only(parameters, passes=task.plan.local_steps * task.plan.sample_rate)
    steered = _Steering.of(task, parameters)
    mean = {name: torch.zeros_like(value) for name, value in parameters.items()}
    processed = 0
    for _ in range(task.plan.local_steps):
        chosen = draw_sample(examples, task.plan, task.sampling)
        gradient = _private_gradient if task.noise_multiplier > 0 else _plain_gradient
        for name, value in gradient(backbone, examples, chosen, task).items():
            mean[name] += value / task.plan.local_steps
            parameters[name].grad = steered.gradient(name, value, parameters[name].detach())
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        processed += len(chosen)
    after = {name: value.detach().float().cpu().numpy() for name, value in parameters.items()}
    return LocalUpdate(
        delta={name: after[name] - state[name] for name in after},
        mean_gradient={name: value.cpu().numpy() for name, value in mean.items()},
        examples=processed,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Steering:
    """What is done to a (noised) gradient before a step: the pull back, the correction, and what must not move."""

    proximal: float
    start: Mapping[str, Tensor]
    correction: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]

    @classmethod
    def of(cls, task: LocalTask, parameters: Mapping[str, torch.nn.Parameter]) -> "_Steering":
        start = {name: value.detach().clone() for name, value in parameters.items()}
        correction, masks = (
            {name: torch.from_numpy(value).to(start[name].device) for name, value in given.items() if name in start}
            for given in (task.correction, task.masks)
        )
        return cls(proximal=task.plan.proximal, start=start, correction=correction, masks=masks)

    def gradient(self, name: str, value: Tensor, parameter: Tensor) -> Tensor:
        steered = value + self.proximal * (parameter - self.start[name]) if self.proximal else value
        steered = steered + self.correction[name] if name in self.correction else steered
        return steered * self.masks[name] if name in self.masks else steered


def draw_sample(examples: Examples, plan: RoundPlan, sampler: dp.sampling.Sampler) -> np.ndarray:
    """Indices of one step's Poisson sample: at the plan's rate, or at each group's own.

    Args:
        examples: the client's.
        plan: as the client follows it (`RoundPlan.for_client`).
        sampler: its randomness.

    Raises:
        PolicyError: If the plan names groups, and nobody knows which example is in which.
    """
    if plan.groups:
        if examples.groups is None:
            raise PolicyError("the plan gives groups of examples rates of their own, and these examples have no groups")
        return dp.sampling.draw_by_group(sampler, examples.groups, tuple(group.sample_rate for group in plan.groups))
    return sampler.draw(len(examples), plan.sample_rate)


def _private_gradient(backbone: Backbone, examples: Examples, chosen: np.ndarray, task: LocalTask) -> dict[str, Tensor]:
    """(Σ clipped per-example gradients + noise) / nominal batch; the divisor is public."""
    plan = task.plan
    noisy = dp.sgd.noisy_sum(
        backbone.per_example,
        backbone.batches(examples, chosen, batch_size=task.physical_batch),
        backbone.losses,
        clip_norm=plan.clip_norm,
        noise_multiplier=task.noise_multiplier,
        noise=task.noise,
    )
    return {methods.public_name(name): value / plan.nominal_batch for name, value in noisy.sums.items()}


def _plain_gradient(backbone: Backbone, examples: Examples, chosen: np.ndarray, task: LocalTask) -> dict[str, Tensor]:
    """The mean gradient, its norm bounded by clip_norm so that the codec's range holds; no privacy."""
    plan = task.plan
    summed = dp.sgd.plain_sum(
        backbone.per_example,
        backbone.batches(examples, chosen, batch_size=task.physical_batch),
        backbone.losses,
    )
    mean = {methods.public_name(name): value / max(len(chosen), 1) for name, value in summed.sums.items()}
    if task.bound_gradients == "nothing":
        return mean
    norm = torch.sqrt(sum((value.square().sum() for value in mean.values()), torch.tensor(0.0)))
    scale = torch.clamp(plan.clip_norm / (norm + 1e-12), max=1.0)
    return {name: value * scale for name, value in mean.items()}


def _optimizer(plan: RoundPlan, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The client's optimiser, fresh in every round."""
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=plan.learning_rate, weight_decay=0.0)
    return torch.optim.SGD(parameters, lr=plan.learning_rate)
