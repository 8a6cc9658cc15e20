"""A client's random choices of a round: which examples, which noise, which way to round."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

import dp.noise
import dp.sampling
import secagg
from dp.distributed.words import SecureWords, SeededWords, WordSource
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.seeds import Seed


class Randomness(Protocol):
    """Where a client's choices come from."""

    def sampling(self, plan: RoundPlan) -> dp.sampling.Sampler:
        """Draws the Poisson samples."""
        ...

    def noise(self, plan: RoundPlan) -> dp.noise.Gaussian:
        """Draws the noise of DP-SGD."""
        ...

    def shares(self, plan: RoundPlan) -> WordSource:
        """Draws the noise shares of distributed privacy."""
        ...

    def rounding(self, plan: RoundPlan) -> np.random.Generator:
        """Rounds to the codec's integers; unbiased, and no secret."""
        ...

    def entropy(self, plan: RoundPlan) -> Callable[[int], bytes]:
        """Draws the keys and masks of the secure sum."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SeededRandomness:
    """Simulation: everything follows from the run's seed, which the server knows, so a resumed run repeats it.

    Args:
        seed: the run's.
        client: whose choices these are.
        keys: draws the keys and masks of the secure sum; None where they follow from the seed as well, and hide
            nothing from whoever knows it: for clients that only play at being on machines of their own.
    """

    seed: Seed
    client: str
    keys: Callable[[int], bytes] | None = None

    def sampling(self, plan: RoundPlan) -> dp.sampling.SeededPoisson:
        """See `Randomness`."""
        return dp.sampling.SeededPoisson(self._stream("sampling", plan))

    def noise(self, plan: RoundPlan) -> dp.noise.SeededGaussian:
        """See `Randomness`."""
        return dp.noise.SeededGaussian(self._stream("noise", plan))

    def shares(self, plan: RoundPlan) -> WordSource:
        """See `Randomness`."""
        return SeededWords(self._stream("shares", plan))

    def rounding(self, plan: RoundPlan) -> np.random.Generator:
        """See `Randomness`."""
        return self._stream("rounding", plan)

    def entropy(self, plan: RoundPlan) -> Callable[[int], bytes]:
        """See `Randomness`."""
        return self.keys or secagg.seeded_entropy(self._stream("entropy", plan).bytes(32))

    def _stream(self, purpose: str, plan: RoundPlan) -> np.random.Generator:
        # The attempt is part of the name: another attempt is another release, with other noise.
        # Rounding and masks of a second sum are new ones; samples and noise are drawn for the first only.
        name = (purpose, self.client, "round", plan.round, "attempt", plan.attempt)
        return self.seed.child(*name, "sum", plan.phase) if plan.phase else self.seed.child(*name)


@dataclass(frozen=True, kw_only=True, slots=True)
class SecureRandomness:
    """Deployment: samples and noise from the operating system's generator."""

    def sampling(self, plan: RoundPlan) -> dp.sampling.SecurePoisson:
        """See `Randomness`."""
        del plan
        return dp.sampling.SecurePoisson()

    def noise(self, plan: RoundPlan) -> dp.noise.SecureGaussian:
        """See `Randomness`."""
        del plan
        return dp.noise.SecureGaussian()

    def shares(self, plan: RoundPlan) -> WordSource:
        """See `Randomness`."""
        del plan
        return SecureWords()

    def rounding(self, plan: RoundPlan) -> np.random.Generator:
        """See `Randomness`."""
        del plan
        return np.random.default_rng(int.from_bytes(os.urandom(16), "big"))

    def entropy(self, plan: RoundPlan) -> Callable[[int], bytes]:
        """See `Randomness`."""
        del plan
        return os.urandom
