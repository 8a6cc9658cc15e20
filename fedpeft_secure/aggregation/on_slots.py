"""Rank slots in the main job: who trains which slots is dealt anew in every round, from public facts.

A client folds the slots that it does not train into its own copy of W for the round, so that it trains beside all of
them. It sends the change of its slots and where they are; a slot moves by the mean over those who trained it. What
nobody picked stays in the adapter as it is, the same model as folding it into W, and may be picked later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Role
from fedpeft_secure.aggregation.base import Reads, Weighing
from fedpeft_secure.aggregation.base_weights import base_name
from fedpeft_secure.aggregation.context import FACTORS, RoundContext
from fedpeft_secure.aggregation.factors import Blocks
from fedpeft_secure.aggregation.fedit import step_along
from fedpeft_secure.aggregation.layout import Block, Layout, covered
from fedpeft_secure.aggregation.rank_slots import Picks, deal_slots
from fedpeft_secure.aggregation.round_strategy import Earlier, Received, Start
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer
from fedpeft_secure.allocation.allotment import slot_mask
from fedpeft_secure.seeds import Seed


@dataclass(frozen=True, kw_only=True, slots=True)
class OnSlots:
    """Fed-PLoRA (Zhang et al. 2026) under a secure sum."""

    name: str = "rank_slots"
    reads: Reads = Reads.SUM
    scales: bool = True

    @property
    def weighing(self) -> Weighing:
        """Whose weights count."""
        return Weighing.GIVEN

    def adapter(self, spec: AdapterSpec) -> AdapterSpec:
        """That of the method."""
        return spec

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """Everything."""
        return spec

    def picks(self, context: RoundContext, module: str) -> Mapping[str, Picks]:
        """Who of those that tune the module trains which of its slots."""
        return _dealt(context)[module]

    def start(self, context: RoundContext, client: str) -> Start:
        """The picked slots as factors, the others as a change of W."""
        values: dict[str, np.ndarray] = dict(context.state.values)
        masks: dict[str, np.ndarray] = {}
        for module in context.spec.modules:
            picks = self.picks(context, module).get(client)
            if picks is None or len(picks) == context.rank(module):
                continue
            marked, shared = _marked(picks, context.rank(module)), context.factors(module)
            for entry in context.spec.entries:
                if entry.module == module and (mask := slot_mask(entry, marked)) is not None:
                    masks[entry.name] = mask
                    values[entry.name] = context.state[entry.name] * mask
            values[base_name(module)] = shared.b[:, ~marked] @ shared.a[~marked]
        trained = context.plan.allotment(client).part_of(self.trainable(context.spec))
        return Start(state=AdapterState(values), trained=trained, masks=masks)

    def layout(self, context: RoundContext, earlier: Earlier) -> Layout:
        """B, A and the indicator of every module, then the other tensors."""
        del earlier
        clip, blocks = context.plan.codec_clip, list[Block]()
        for module in context.spec.modules:
            shared = context.factors(module)
            blocks += [Block(owner=module, shape=shared.b.shape), Block(owner=module, shape=shared.a.shape)]
            blocks.append(Block(owner=module, shape=(context.rank(module),), unit=1 / (clip * (1 - 1e-9))))
        blocks += [Block(owner=entry.name, shape=entry.shape) for entry in self._others(context.spec).entries]
        filled = {client: self._fills(context, client) for client in context.plan.cohort}
        return Layout(blocks=tuple(blocks), clip=clip, covered=covered(filled))

    def encode(self, delta: Mapping[str, np.ndarray], context: RoundContext, client: str, layout: Layout) -> np.ndarray:
        """The change of the picked slots, zero elsewhere, and the indicator."""
        sent = dict[str, Blocks]()
        for module in context.spec.modules:
            names = [context.spec.name_of(module, role) for role in (Role.LORA_B, Role.LORA_A)]
            picks = self.picks(context, module).get(client, ())
            b, a = (delta.get(name, np.zeros(context.state[name].shape)) for name in names)
            sent[module] = (b, a, _marked(picks, context.rank(module)).astype(np.float64))
        for entry in self._others(context.spec).entries:
            sent[entry.name] = (delta.get(entry.name, np.zeros(entry.shape)),)
        return layout.pack(sent)

    def apply(
        self, received: Received, context: RoundContext, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """Every picked slot moves along the mean change of its pickers."""
        means, spec, state = self.layout(context, ()).unpack(received.means[0]), context.spec, context.state
        changes, moves = {name: means[name][0] for name in self._others(spec).names}, dict[str, np.ndarray]()
        for module in spec.modules:
            picks, rank = self.picks(context, module), context.rank(module)
            picked = _marked({slot for name in received.survivors for slot in picks.get(name, ())}, rank)
            b, a, share = means[module]
            share = np.where(picked, share, 1.0)
            b_name, a_name = (spec.name_of(module, role) for role in (Role.LORA_B, Role.LORA_A))
            moves |= {b_name: picked[None, :], a_name: picked[:, None]}
            changes |= {b_name: b / share, a_name: a / share[:, None]}
        stepped, optimizer = step_along(
            state, np.concatenate([changes[name].reshape(-1) for name in spec.names]), spec, optimizer
        )
        kept = {name: np.where(moved, stepped[name], state[name]) for name, moved in moves.items()}
        return stepped.replace(kept), optimizer

    def _fills(self, context: RoundContext, client: str) -> list[np.ndarray]:
        fills: list[np.ndarray] = []
        for module in context.spec.modules:
            shared, marked = (
                context.factors(module),
                _marked(self.picks(context, module).get(client, ()), context.rank(module)),
            )
            fills += [
                np.broadcast_to(marked[None, :], shared.b.shape),
                np.broadcast_to(marked[:, None], shared.a.shape),
            ]
            fills.append(marked)
        tuned = set(context.plan.allotment(client).part_of(context.spec).names)
        return fills + [np.full(entry.shape, entry.name in tuned) for entry in self._others(context.spec).entries]

    def _others(self, spec: AdapterSpec) -> AdapterSpec:
        return AdapterSpec(entries=tuple(entry for entry in spec.entries if entry.role not in FACTORS))


def _marked(picks: Picks | set[int], rank: int) -> np.ndarray:
    return np.isin(np.arange(rank), list(picks))


@lru_cache(maxsize=4)
def _dealt(context: RoundContext) -> dict[str, dict[str, Picks]]:
    """Of every module, who trains which slots."""
    dealt: dict[str, dict[str, Picks]] = {}
    for module in context.spec.modules:
        clients, rank = context.tuners(module), context.rank(module)
        picks = deal_slots(
            [context.allotments[client].slots(rank) for client in clients],
            slots=rank,
            min_cohort=context.plan.min_cohort,
            rng=Seed(context.seed).child("aggregation", "slots", module),
        )
        dealt[module] = dict(zip(clients, picks, strict=True))
    return dealt
