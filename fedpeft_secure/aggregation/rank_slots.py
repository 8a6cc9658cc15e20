"""Rank slots: ΔW is a sum of rank-one slots; clients train some of them each, and a slot is averaged over its pickers.

b_j = Σ_{k picked j} p_k b_kj / Σ_{k picked j} p_k, the same for a_j: nobody's zeros pull a slot down. Clients send an
indicator for each slot beside their slots, so that all of it comes from one secure sum. Who picks what is public and
drawn anew every round, with at least `min_cohort` pickers for every slot that is picked at all. A slot that nobody
picked is folded into W: its product moves to the base weights, its b becomes zero.

Source: Zhang et al. 2026, *Heterogeneous Federated Fine-Tuning with Parallel One-Rank Adaptation* (Fed-PLoRA), on
Select-N-Fold (there every client folds what it does not train into its own copy of W).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.factors import Blocks, Factors

Picks = tuple[int, ...]
"""The slots of one client, sorted."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SlotMeans:
    """All slots after a round.

    Args:
        factors: shapes (d, slots) and (slots, n); folded slots have b = 0.
        folded: what the base weights gain, shape (d, n).
    """

    factors: Factors
    folded: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class RankSlots:
    """One round of slots."""

    name: str = "rank_slots"
    reads: Reads = Reads.SUM

    def encode_factors(self, factors: Factors, picks: Picks, slots: int) -> Blocks:
        """The client's slots in their places, and an indicator of shape (slots,); zero elsewhere.

        Args:
            factors: of rank len(picks), in the order of `picks`.
            picks: the client's slots.
            slots: how many there are.
        """
        b, a = np.zeros((factors.b.shape[0], slots)), np.zeros((slots, factors.a.shape[1]))
        indicator = np.zeros(slots)
        b[:, picks], a[list(picks)], indicator[list(picks)] = factors.b, factors.a, 1.0
        return b, a, indicator

    def apply_sum(self, mean: Blocks, shared: Factors, picks: Sequence[Picks]) -> SlotMeans:
        """The mean of every picked slot; the others are folded.

        Args:
            mean: of the encoded blocks.
            shared: all slots before the round.
            picks: of the clients whose blocks are in the mean.
        """
        b, a, share = mean
        picked = np.isin(np.arange(shared.rank), [slot for slots in picks for slot in slots])
        share = np.where(picked, share, 1.0)
        factors = Factors(b=np.where(picked, b / share, 0.0), a=np.where(picked[:, None], a / share[:, None], shared.a))
        return SlotMeans(factors=factors, folded=shared.b[:, ~picked] @ shared.a[~picked])


def deal_slots(ranks: Sequence[int], *, slots: int, min_cohort: int, rng: np.random.Generator) -> tuple[Picks, ...]:
    """Who trains which slots: dealt out like cards, so that picked slots have nearly equally many pickers.

    Args:
        ranks: how many slots each client can bear.
        slots: how many there are.
        min_cohort: fewest pickers of a picked slot; where clients are few, fewer slots are picked, and a client trains
            no more than these.
        rng: draws the order of clients and slots.

    Returns:
        The picks of each client, in the order of `ranks`.

    Raises:
        ValueError: If there are fewer clients than `min_cohort`.
    """
    if len(ranks) < min_cohort:
        raise ValueError(f"rank_slots: {len(ranks)} clients cannot fill a slot min_cohort = {min_cohort} times")
    picked = slots
    while sum(min(rank, picked) for rank in ranks) < min_cohort * picked:
        picked -= 1
    order, dealt, position = rng.permutation(slots)[:picked], [Picks()] * len(ranks), 0
    for client in rng.permutation(len(ranks)):
        count = min(ranks[client], picked)
        dealt[client] = tuple(sorted(int(order[(position + offset) % picked]) for offset in range(count)))
        position += count
    return tuple(dealt)
