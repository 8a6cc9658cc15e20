"""Means of what clients send for a module: added up exactly, or through one of the secure sums."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

import numpy as np

import secagg
from fedpeft_secure.aggregation.base import FactorStrategy
from fedpeft_secure.aggregation.factors import Blocks, Factors, ModulePlan
from fedpeft_secure.seeds import Seed

PROTOCOLS: Final = {"masked": secagg.MaskedSum, "plain": secagg.PlainSum, **secagg.ONE_MESSAGE}

WEIGHT_STEPS = 1 << 20
"""Weights travel as integers up to this, unless the codec has a `max_weight` of its own."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Summed:
    """The weighted mean of every block, and whose blocks are in it."""

    mean: Blocks
    survivors: tuple[str, ...]


class Sums(Protocol):
    """Adds up what clients send."""

    def mean(self, sent: Mapping[str, Blocks], *, phase: int) -> Summed:
        """The weighted mean over the clients of `sent`; `phase` counts the sums of a session from 0."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExactSums:
    """Means in float64, nothing hidden.

    Args:
        weights: of every client, positive.
    """

    weights: Mapping[str, float]

    def mean(self, sent: Mapping[str, Blocks], *, phase: int) -> Summed:
        """See `Sums.mean`."""
        del phase
        names = tuple(sorted(sent))
        total = sum(self.weights[name] for name in names)
        blocks = zip(*(sent[name] for name in names), strict=True)
        shares = [self.weights[name] / total for name in names]
        mean = tuple(sum(share * part for share, part in zip(shares, block, strict=True)) for block in blocks)
        return Summed(mean=tuple(np.asarray(block) for block in mean), survivors=names)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SecureSums:
    """Means through a secure sum, all parties in this process.

    Guarantee: what the server gets is a function of the sums of the clients' integers and of the public ranges.
    Assumes: ranges that are public. Each block is scaled so that the largest value of any client just fits the codec's
        clip, by a power of 2^¼. A deployment announces these powers with its plan, from the sums of earlier rounds or
        a clip norm; this function sees one round only and takes them from the factors: one small integer a block is
        the only thing here that is not a sum.
    Does not cover: secrecy. Masks and rounding are drawn from the public seed, so that answers can be repeated.

    Args:
        protocol: any of secagg's, with a codec of real numbers.
        weights: of every client, positive, sent inside the sum; None: every client counts the same.
        seed: of masks and rounding.

    Raises:
        ValueError: If the protocol's codec takes integers only.
    """

    protocol: secagg.SecureSum
    weights: Mapping[str, float] | None = field(repr=False)
    seed: int = 0

    def __post_init__(self) -> None:
        takes_reals = isinstance(self.protocol.codec, secagg.FixedPoint)
        if not takes_reals:
            raise ValueError("secure_sum: its codec takes integers, factors are real; give it a FixedPoint codec")

    @property
    def codec(self) -> secagg.FixedPoint:
        """The protocol's quantiser."""
        return cast(secagg.FixedPoint, self.protocol.codec)

    def mean(self, sent: Mapping[str, Blocks], *, phase: int) -> Summed:
        """See `Sums.mean`.

        Raises:
            secagg.ProtocolError: If the protocol cannot run with this cohort, or fails.
        """
        names = tuple(sorted(sent))
        shapes = [block.shape for block in sent[names[0]]]
        clip = self.codec.clip
        units = [public_range(blocks) / clip for blocks in zip(*(sent[name] for name in names), strict=True)]
        vectors = {name: _flat(block / unit for block, unit in zip(sent[name], units, strict=True)) for name in names}
        entropy = Seed(self.seed).entropy("aggregation", "sum", phase) >> 1
        aggregate = secagg.simulate(self.protocol, vectors, weights=self._integers(names), seed=entropy)
        parts = np.split(aggregate.mean, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
        mean = [unit * part.reshape(shape) for part, unit, shape in zip(parts, units, shapes, strict=True)]
        return Summed(mean=tuple(mean), survivors=aggregate.survivors)

    def _integers(self, names: tuple[str, ...]) -> dict[str, int] | None:
        if self.weights is None:
            return None
        steps, largest = self.codec.max_weight or WEIGHT_STEPS, max(self.weights.values())
        return {name: max(1, round(self.weights[name] / largest * steps)) for name in names}


def run_sums(
    strategy: FactorStrategy, clients: Mapping[str, Factors], public: ModulePlan, sums: Sums
) -> tuple[Blocks, ...]:
    """All sums of one strategy as one session: who is missing from one sum is not asked for the next.

    Args:
        strategy: encodes.
        clients: factors by name.
        public: the module.
        sums: adds up.

    Returns:
        The means of every sum.

    Raises:
        ValueError: If what a client would send is not finite.
        secagg.RoundFailedError: If somebody vanishes between two sums, whose means would be over different clients.
    """
    cohort, means = tuple(sorted(clients)), tuple[Blocks, ...]()
    for phase in range(strategy.reads.sums):
        sent = {name: _encode(strategy, name, clients[name], public, means) for name in cohort}
        summed = sums.mean(sent, phase=phase)
        if phase and summed.survivors != cohort:
            gone = sorted(set(cohort) - set(summed.survivors))
            raise secagg.RoundFailedError(
                f"{gone[0]} vanished between the two sums of {strategy.name}; start another attempt without it"
            )
        cohort, means = summed.survivors, (*means, summed.mean)
    return means


def public_range(blocks: Sequence[np.ndarray]) -> float:
    """The smallest power of 2^¼ that bounds all values of `blocks`; 1 where all are zero."""
    largest = max(float(np.abs(block).max()) for block in blocks)
    return 1.0 if largest == 0 else max(largest, 2.0 ** (math.ceil(4 * math.log2(largest)) / 4))


def _flat(blocks: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([block.reshape(-1) for block in blocks])


def _encode(
    strategy: FactorStrategy, name: str, factors: Factors, public: ModulePlan, means: tuple[Blocks, ...]
) -> Blocks:
    with np.errstate(over="ignore", invalid="ignore"):
        blocks = strategy.encode_factors(factors, public, means)
    if not all(np.isfinite(block).all() for block in blocks):
        raise ValueError(f"{strategy.name}: what {name} would send is not finite; its factors are too large")
    return blocks
