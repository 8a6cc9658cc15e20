"""Strategies that are functions of the clients' factors, in the main job: module by module, the rest by its mean.

A client sends what the strategy's encoding of its factors gains on that of the shared ones, which everybody knows: the
mean of gains and the encoding of the shared factors are the mean of the encodings, whatever the encoding is, and gains
are small, so that they are quantised finely. Where clients of smaller rank leave slots empty, the encodings themselves
are sent, zero there, so that the secure sum can refuse a slot that too few fill.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Role
from fedpeft_secure.aggregation.base import FactorStrategy, MixedRanks, Reads, Weighing
from fedpeft_secure.aggregation.base_weights import base_name, with_base
from fedpeft_secure.aggregation.context import FACTORS, RoundContext
from fedpeft_secure.aggregation.factors import Blocks, Factors
from fedpeft_secure.aggregation.fedex import FedEx, residual
from fedpeft_secure.aggregation.fedit import step_along
from fedpeft_secure.aggregation.hetlora import HetLoRA
from fedpeft_secure.aggregation.layout import Block, Layout, Ranges, covered, unit_for
from fedpeft_secure.aggregation.low_rank import Pair, truncate_factors
from fedpeft_secure.aggregation.round_strategy import Earlier, Received, Start, own_start
from fedpeft_secure.aggregation.server_optimizers import FedAvg, ServerOptimizer
from fedpeft_secure.errors import FedPeftError
from fedpeft_secure.seeds import Seed

SAFETY = 8.0
"""How far beyond the largest value of a random change of the expected spread a range goes: real ones are not random."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnFactors:
    """The main job's form of a `FactorStrategy`.

    The server's optimiser steps the head and whatever else is no factor along its mean change. A module's product goes
    the share `server_learning_rate` of the way to the strategy's answer; with 1 it is the answer.
    """

    strategy: FactorStrategy
    scales: bool = True

    @property
    def name(self) -> str:
        """As in the configuration."""
        return self.strategy.name

    @property
    def reads(self) -> Reads:
        """See `FactorStrategy`."""
        return self.strategy.reads

    @property
    def weighing(self) -> Weighing:
        """Whose weights count."""
        return self.strategy.weighing

    def adapter(self, spec: AdapterSpec) -> AdapterSpec:
        """With changes of the base weights where the strategy makes some."""
        return with_base(spec) if isinstance(self.strategy, FedEx) else spec

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """All but the base weights."""
        return spec.only((*FACTORS, Role.HEAD, Role.BODY))

    def start(self, context: RoundContext, client: str) -> Start:
        """The shared adapter, with the first slots where the client has fewer."""
        return own_start(context, client, self.trainable(context.spec))

    def layout(self, context: RoundContext, earlier: Earlier) -> Layout:
        """The strategy's blocks of every module; in the first sum, the other tensors too."""
        blocks: list[Block] = []
        read: dict[str, tuple[Blocks, ...]] = dict.fromkeys(context.spec.modules, ())
        for phase, mean in enumerate(earlier):
            gains = self.layout(context, earlier[:phase]).unpack(mean)
            read = {module: (*sums, self._completed(context, module, sums, gains)) for module, sums in read.items()}
        for module in context.spec.modules:
            blocks += self._blocks(context, module, read[module])
        if not earlier:
            blocks += [Block(owner=entry.name, shape=entry.shape) for entry in self._others(context.spec).entries]
        return Layout(
            blocks=tuple(blocks),
            clip=context.plan.codec_clip,
            covered=self._coverage(context, tuple(blocks)),
            earlier=read,
        )

    def encode(self, delta: Mapping[str, np.ndarray], context: RoundContext, client: str, layout: Layout) -> np.ndarray:
        """What the client's factors gain on the shared ones, and its change of the other tensors."""
        start = self.start(context, client)
        values = {name: start.state[name] + delta.get(name, 0.0) for name in start.state.values}
        tuned, sent = set(start.trained.modules), dict[str, Blocks]()
        for module in context.spec.modules:
            own = context.factors(module, values if module in tuned else None)
            sent[module] = self._gain(context, module, own, layout.earlier[module])
            if module not in tuned:
                sent[module] = tuple(np.zeros_like(block) for block in sent[module])
        for entry in self._others(context.spec).entries:
            sent[entry.name] = (np.asarray(delta.get(entry.name, np.zeros(entry.shape)), dtype=np.float64),)
        owners = {block.owner for block in layout.blocks}
        return layout.pack({owner: blocks for owner, blocks in sent.items() if owner in owners})

    def apply(
        self, received: Received, context: RoundContext, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """The strategy's answer for every module, and a step of the optimiser for the rest."""
        share = product_rate(optimizer)
        last = self.layout(context, received.means[:-1])
        gains = last.unpack(received.means[-1])
        first = self.layout(context, ()).unpack(received.means[0])
        values: dict[str, np.ndarray] = {}
        for module in context.spec.modules:
            mean = self._completed(context, module, last.earlier[module], gains)
            mean = self._with_unchanged(context, module, mean, received.survivors)
            sums = (*last.earlier[module], mean)
            values |= self._answer(context, module, sums, share)
        others = self._others(context.spec)
        flat = np.concatenate([np.zeros(0), *(first[name][0].reshape(-1) for name in others.names)])
        state, optimizer = step_along(context.state, flat, others, optimizer)
        return state.replace(values), optimizer

    def _answer(
        self, context: RoundContext, module: str, sums: tuple[Blocks, ...], share: float
    ) -> dict[str, np.ndarray]:
        names = [context.spec.name_of(module, role) for role in (Role.LORA_B, Role.LORA_A)]
        rank, shared, public = context.rank(module), context.factors(module), context.module_plan(module)
        if isinstance(self.strategy, FedEx):
            b, a, product = sums[0]
            base, factors = base_name(module), towards(shared, (b, a), share)
            wanted = (1 - share) * shared.product() + share * product
            moved = {base: context.state[base] + residual(*factors, wanted)}
            return moved | dict(zip(names, factors, strict=True))
        if isinstance(self.strategy, HetLoRA) and sums[0][2][0] <= self._rounding(context, module):
            return {}  # nobody has moved, as behind a head that starts at zero: there is nothing to weigh by
        b, a = self.strategy.apply_sums(sums, public)
        if self.strategy.mixed_ranks is MixedRanks.DENSE and share != 1:
            left, right = np.hstack([(1 - share) * shared.b, share * b]), np.vstack([shared.a, a])
            return dict(zip(names, padded(truncate_factors(left, right, rank), rank), strict=True))
        return dict(zip(names, towards(shared, padded((b, a), rank), share), strict=True))

    def _rounding(self, context: RoundContext, module: str) -> float:
        """What the codec may make of a last block of zeros."""
        unit = self._blocks(context, module, ())[-1].unit
        return 4 * unit * context.plan.codec_clip * float(2.0**-context.plan.codec_bits)

    def _completed(
        self, context: RoundContext, module: str, sums: tuple[Blocks, ...], gains: Mapping[str, Blocks]
    ) -> Blocks:
        """The mean of the clients' encodings."""
        if self._absolute(context):
            return gains[module]
        shared = self.strategy.encode_factors(context.factors(module), context.module_plan(module), sums)
        return tuple(base + gain for base, gain in zip(shared, gains[module], strict=True))

    def _with_unchanged(self, context: RoundContext, module: str, mean: Blocks, survivors: tuple[str, ...]) -> Blocks:
        """Where encodings themselves are sent: the share of those who do not tune the module, for whom it is as it was.

        Everybody counts alike there (`rules.counts_alike`), so that the share is public. Whoever weighs itself by how
        much it has moved does not weigh anything without moving.
        """
        if not self._absolute(context) or self.weighing is Weighing.OWN:
            return mean
        unmoved = 1 - len(set(survivors) & set(context.tuners(module))) / len(survivors)
        shared = self.strategy.encode_factors(context.factors(module), context.module_plan(module), ())
        return tuple(block + unmoved * base for block, base in zip(mean, shared, strict=True))

    def _gain(self, context: RoundContext, module: str, factors: Factors, sums: tuple[Blocks, ...]) -> Blocks:
        public = context.module_plan(module)
        encoded = self.strategy.encode_factors(factors, public, sums)
        if self._absolute(context):
            return encoded
        shared = self.strategy.encode_factors(context.factors(module), public, sums)
        return tuple(own - base for own, base in zip(encoded, shared, strict=True))

    def _absolute(self, context: RoundContext) -> bool:
        """Whether slots may be empty."""
        return self.strategy.mixed_ranks is MixedRanks.SLOTS and bool(context.plan.allotments)

    def _blocks(self, context: RoundContext, module: str, sums: tuple[Blocks, ...]) -> list[Block]:
        """The module's blocks, in units that a random change of the expected spread stays well within."""
        shared, rank = context.factors(module), context.rank(module)
        rng = Seed(context.seed).child("aggregation", "range", module)
        largest: list[float] = []
        shapes: list[tuple[int, ...]] = []
        ranks = sorted({rank, *context.module_plan(module).ranks})
        for held in {ranks[0], ranks[-1]}:
            cut = shared.in_slots(held)
            moved = Factors(
                b=cut.b + context.spread * rng.standard_normal(cut.b.shape),
                a=cut.a + context.spread * rng.standard_normal(cut.a.shape),
            )
            gain = self._gain(context, module, moved, sums)
            shapes = [block.shape for block in gain]
            found = [float(np.abs(block).max()) for block in gain]
            largest = [max(pair) for pair in zip(largest or found, found, strict=True)]
        clip = context.plan.codec_clip
        return [
            Block(owner=module, shape=shape, unit=unit_for(SAFETY * value, clip))
            for shape, value in zip(shapes, largest, strict=True)
        ]

    def _coverage(self, context: RoundContext, blocks: tuple[Block, ...]) -> dict[str, Ranges]:
        if not context.plan.allotments:
            return {}
        modules, filled = set(context.spec.modules), dict[str, list[np.ndarray]]()
        for client, allotment in context.allotments.items():
            tuned = set(allotment.part_of(context.spec).modules)
            others = set(allotment.part_of(self._others(context.spec)).names)
            seen: dict[str, int] = {}
            filled[client] = []
            for block in blocks:
                position = seen[block.owner] = seen.get(block.owner, -1) + 1
                fills = np.full(block.shape, block.owner in (tuned if block.owner in modules else others))
                if block.owner in modules and self._absolute(context) and position < len(FACTORS):
                    slots = np.arange(context.rank(block.owner)) < allotment.slots(context.rank(block.owner))
                    fills &= slots[None, : fills.shape[1]] if position == 0 else slots[: fills.shape[0], None]
                filled[client].append(fills)
        return covered(filled)

    def _others(self, spec: AdapterSpec) -> AdapterSpec:
        return spec.only((Role.HEAD, Role.BODY))


def product_rate(optimizer: ServerOptimizer) -> float:
    """The share of the way to the strategy's answer that a product goes.

    Raises:
        FedPeftError: If the optimiser is none that steps straight.
    """
    if not isinstance(optimizer, FedAvg):
        raise FedPeftError('training.server_optimizer: products go straight to the answer; use "sgd"')
    return optimizer.rate


def towards(shared: Factors, answer: Pair, share: float) -> Pair:
    """The factors, the share of the way from the shared ones."""
    b, a = answer
    return (1 - share) * shared.b + share * b, (1 - share) * shared.a + share * a


def padded(pair: Pair, rank: int) -> Pair:
    """Factors of exactly `rank` slots, the missing ones empty."""
    b, a = pair
    missing = rank - a.shape[0]
    return np.pad(b, ((0, 0), (0, missing))), np.pad(a, ((0, missing), (0, 0)))
