"""Counts how often a client draws a sample and noise, whatever it says that it did."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

import dp.noise
import dp.sampling
from dp.distributed.words import WordSource
from fedpeft_secure.clients.randomness import Randomness
from fedpeft_secure.plans import RoundPlan


@dataclass(kw_only=True, slots=True)
class Tally:
    """Draws so far."""

    samples: int = 0
    noises: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CountingSampler:
    """A sampler that counts."""

    inner: dp.sampling.Sampler
    tally: Tally

    @property
    def label(self) -> str:
        """See `dp.sampling.Sampler`."""
        return self.inner.label

    def draw(self, count: int, sample_rate: float) -> dp.sampling.Indices:
        """See `dp.sampling.Sampler`."""
        self.tally.samples += 1
        return self.inner.draw(count, sample_rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class CountingGaussian:
    """A source of noise that counts."""

    inner: dp.noise.Gaussian
    tally: Tally

    @property
    def label(self) -> str:
        """See `dp.noise.Gaussian`."""
        return self.inner.label

    def draw(self, shape: Sequence[int], stddev: float) -> Tensor:
        """See `dp.noise.Gaussian`."""
        self.tally.noises += 1
        return self.inner.draw(shape, stddev)


@dataclass(frozen=True, kw_only=True, slots=True)
class CountingRandomness:
    """A client's own randomness, watched."""

    inner: Randomness
    tally: Tally = field(default_factory=Tally)

    def sampling(self, plan: RoundPlan) -> CountingSampler:
        """See `Randomness`."""
        return CountingSampler(inner=self.inner.sampling(plan), tally=self.tally)

    def noise(self, plan: RoundPlan) -> CountingGaussian:
        """See `Randomness`."""
        return CountingGaussian(inner=self.inner.noise(plan), tally=self.tally)

    def shares(self, plan: RoundPlan) -> WordSource:
        """See `Randomness`."""
        return self.inner.shares(plan)

    def rounding(self, plan: RoundPlan) -> np.random.Generator:
        """See `Randomness`."""
        return self.inner.rounding(plan)

    def entropy(self, plan: RoundPlan) -> Callable[[int], bytes]:
        """See `Randomness`."""
        return self.inner.entropy(plan)
