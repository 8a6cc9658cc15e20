"""Privacy of whole clients: each update is clipped once, and noise is added to the *sum*, by shares or by the server.

Vectors are sent in units of the clip norm, so that a clip norm that follows the updates changes no mechanism.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

import dp
import dp.noise
import secagg
from dp.distributed.calibrate import SharePlan
from dp.distributed.hadamard import Rotation
from dp.distributed.shares import noised_contribution, read_mean
from dp.distributed.words import WordSource
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.plans import RoundPlan

Mechanism = Literal["distributed_discrete_gaussian", "distributed_skellam", "central"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientNoise:
    """What protects whole clients in a run; public.

    Args:
        mechanism: who adds which noise.
        count_weight: ω: with an adaptive clip norm, a client also sends ±ω for whether its update was short enough.
        shares: the noise share of every client, or None where the server adds the noise.
        central_multiplier: σ over the sensitivity where the server adds the noise, else 0.
        central_stddev: the same noise on a coordinate of the sum, in clip norms.
    """

    mechanism: Mechanism
    count_weight: float = 0.0
    shares: SharePlan | None = None
    central_multiplier: float = 0.0
    central_stddev: float = 0.0

    @property
    def distributed(self) -> bool:
        """Whether clients add the noise, so that the server need not be trusted."""
        return self.shares is not None

    @property
    def noise_multiplier(self) -> float:
        """σ of the noise that every sum holds, over its sensitivity to one client."""
        return self.central_multiplier if self.shares is None else self.shares.event(steps=1).noise_multiplier

    @property
    def largest_norm(self) -> float:
        """The L2 norm of what a client's noise must hide, in clip norms: its update, and its count."""
        return math.sqrt(1 + self.count_weight**2)

    def event(self, *, steps: int, shares: int | None = None) -> dp.PrivacyEvent:
        """What `steps` sums reveal of one client, at the guaranteed honest survivors or at `shares` shares."""
        if self.shares is not None:
            return self.shares.event(steps=steps, shares=shares)
        return dp.SampledGaussian(noise_multiplier=self.central_multiplier, sample_rate=1.0, steps=steps)

    def check(self, plan: RoundPlan, sums: secagg.SumPlan) -> None:
        """Refuses, on the client's side, a sum in which its share would not be enough.

        Raises:
            PolicyError: If the plan names another mechanism, or guarantees fewer honest survivors than the noise was
                calibrated for.
        """
        if (plan.mechanism, plan.count_weight) != (self.mechanism, self.count_weight):
            raise PolicyError(f"round {plan.round} follows another mechanism than this client's noise was made for")
        if self.shares is None:
            return
        if plan.protocol == "plain" or sums.guaranteed_honest < self.shares.cohort.honest:
            raise PolicyError(
                f"round {plan.round} guarantees {0 if plan.protocol == 'plain' else sums.guaranteed_honest} honest "
                f"survivors, the noise shares were calibrated for {self.shares.cohort.honest}"
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NoisySum:
    """What a round releases.

    Args:
        mean: of the clipped updates, noised, shape (dim,).
        below_clip: noised share of the clients whose update was not longer than the clip norm, or None.
    """

    mean: np.ndarray
    below_clip: float | None


def encode_update(
    noise: ClientNoise, plan: RoundPlan, update: np.ndarray, *, rng: np.random.Generator, source: WordSource
) -> np.ndarray:
    """A client's clipped update as the secure sum adds it up: with its noise share, or for a trusted server without.

    Guarantee: the vector's norm is at most `noise.largest_norm` before rounding; an update that is not finite counts
    as zero, so that its failure does not show.
    """
    vector = _in_clip_norms(update, plan.clip_norm, noise.count_weight)
    if noise.shares is None:
        return vector
    return noised_contribution(
        noise.shares,
        vector,
        clip_norm=noise.largest_norm,
        rotation=_rotation(plan, len(vector)),
        rng=rng,
        source=source,
    )


def read_sum(
    noise: ClientNoise, plan: RoundPlan, aggregate: secagg.Aggregate, *, server_noise: Callable[[], dp.noise.Gaussian]
) -> NoisySum:
    """The server's side: unrotates a sum of shares, or adds the noise of a trusted server.

    Args:
        noise: the run's.
        plan: the round's.
        aggregate: of the secure sum.
        server_noise: opens the server's own source; used once, and only where the server is trusted with the noise.
    """
    clients = len(aggregate.survivors)
    if noise.shares is None:
        drawn = server_noise().draw(aggregate.mean.shape, noise.central_stddev)
        mean = aggregate.mean + drawn.numpy() / clients
    else:
        rotation = _rotation(plan, len(aggregate.mean))
        mean = read_mean(noise.shares, aggregate.mean, clip_norm=noise.largest_norm, rotation=rotation)
    if not noise.count_weight:
        return NoisySum(mean=mean * plan.clip_norm, below_clip=None)
    return NoisySum(mean=mean[:-1] * plan.clip_norm, below_clip=0.5 + float(mean[-1]) / (2 * noise.count_weight))


def next_clip_norm(clip_norm: float, below_clip: float, *, quantile: float, rate: float) -> float:
    """C·exp(−η·(b̃ − γ)): shrinks while more than the share γ of the updates are below C.

    Source: Andrew, Thakkar, McMahan and Ramaswamy 2021 (arXiv 1905.03871), Algorithm 1.
    """
    return float(clip_norm * math.exp(-rate * (min(max(below_clip, 0.0), 1.0) - quantile)))


def _in_clip_norms(update: np.ndarray, clip_norm: float, count_weight: float) -> np.ndarray:
    values = update.astype(np.float64)
    norm = float(np.linalg.norm(values))
    if not math.isfinite(norm):
        values, norm = np.zeros_like(values), math.inf
    clipped = values * ((1 - 1e-9) / max(norm, clip_norm))
    if not count_weight:
        return clipped
    return np.append(clipped, count_weight if norm <= clip_norm else -count_weight)


def _rotation(plan: RoundPlan, dim: int) -> Rotation:
    """The round's, from what is public and fresh in it: the same for all its parties."""
    return Rotation(dim=dim, seed=f"{plan.model_hash}\0{plan.round}\0{plan.attempt}".encode())
