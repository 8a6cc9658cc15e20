"""Any strategy on given factors of one module: encode → sum → apply, with or without a secure sum."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Final

import numpy as np

import secagg
from fedpeft_secure.aggregation.base import FactorStrategy, MixedRanks, Weighing
from fedpeft_secure.aggregation.factors import Factors, ModulePlan, read_factors, shared_a
from fedpeft_secure.aggregation.fedask import FedASK
from fedpeft_secure.aggregation.fedex import FedEx
from fedpeft_secure.aggregation.fedit import FedIT
from fedpeft_secure.aggregation.fedsvd import FedSVD
from fedpeft_secure.aggregation.ffa import FFA
from fedpeft_secure.aggregation.flexlora import FlexLoRA
from fedpeft_secure.aggregation.flora import FLoRA
from fedpeft_secure.aggregation.hetlora import HetLoRA
from fedpeft_secure.aggregation.lora_fair import LoRAFair
from fedpeft_secure.aggregation.product_sketch import ProductSketch
from fedpeft_secure.aggregation.sums import PROTOCOLS, ExactSums, SecureSums, Sums, run_sums
from fedpeft_secure.suggestions import did_you_mean

FACTOR_STRATEGIES: Final[dict[str, FactorStrategy]] = {
    strategy.name: strategy
    for strategy in (
        FedIT(),
        FFA(),
        FedSVD(),
        HetLoRA(),
        FlexLoRA(),
        FedEx(),
        LoRAFair(),
        FedASK(),
        ProductSketch(),
    )
}
"""Strategies whose answer is a function of the factors, read off sums."""

STACKING: Final = FLoRA()
"""The strategy that reads every client's own factors."""

STATEFUL: Final = {
    "rolora": "trains A and B in turn, so the answer depends on the round",
    "fed_sb": "sends cores between factors that never change, not the factors",
    "fedsa": "leaves every client a B of its own, so there is no one answer",
    "rank_slots": "needs to know who picked which slot, and the slots of the round before",
}
"""Strategies that are more than a function of the factors, and why."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Combined:
    """The new factors of a module and what they cost.

    Args:
        b, a: the new ΔW = B A.
        values_sent: by a client of the largest rank in each sum (or in its individual update).
        relative_error: the strategy's own estimate of ‖M − B A‖_F/‖M‖_F against the mean product M, made from the sums
            alone; None where it makes none.
    """

    b: np.ndarray
    a: np.ndarray
    values_sent: tuple[int, ...]
    relative_error: float | None = None


def combine(
    strategy: str,
    factors: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    weights: Sequence[float],
    rank: int,
    seed: int = 0,
    secure_sum: secagg.SecureSum | str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The new factors (B, A) of one module; B @ A is the new ΔW.

    Args:
        strategy: fedit, ffa, fedsvd, hetlora, flora, flexlora, fedex, lora_fair, fedask or product_sketch.
        factors: (B_k (d, r_k), A_k (r_k, n)) of each client, with α/r folded in.
        weights: one for each client, positive; only their proportions count.
        rank: the largest rank of the answer; flora and fedex ignore it and return up to Σ r_k.
        seed: of the public test matrices, and of masks and rounding of the simulated secure sum.
        secure_sum: a protocol of secagg or its name, such as "masked"; None adds up in float64.

    Returns:
        Float64 arrays of shapes (d, r) and (r, n).

    Raises:
        ValueError: If the strategy is unknown, stateful, or cannot work with these ranks, factors or this secure sum.
        secagg.ProtocolError: If the secure sum cannot run with this cohort.
    """
    found = combine_module(strategy, factors, weights=weights, rank=rank, seed=seed, secure_sum=secure_sum)
    return found.b, found.a


def combine_module(
    strategy: str,
    factors: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    weights: Sequence[float],
    rank: int,
    seed: int = 0,
    secure_sum: secagg.SecureSum | str | None = None,
) -> Combined:
    """`combine` with what was sent and the estimated error; same arguments."""
    _check_name(strategy)
    clients = read_factors(factors)
    shares = _read_weights(weights, len(clients))
    if isinstance(rank, bool) or not isinstance(rank, Integral) or rank < 1:
        raise ValueError(f"rank = {rank!r} must be a whole number of at least 1")
    if strategy == STACKING.name:
        return _stacked(clients, shares, secure_sum)
    chosen, protocol = FACTOR_STRATEGIES[strategy], _protocol(secure_sum)
    public = ModulePlan(
        d=clients[0].b.shape[0],
        n=clients[0].a.shape[1],
        ranks=tuple(client.rank for client in clients),
        rank=int(rank),
        seed=seed,
        shared_a=shared_a(clients),
    )
    _check_ranks(chosen, public, protocol)
    names = [f"client-{number:06d}" for number in range(1, len(clients) + 1)]
    given = dict(zip(names, shares if chosen.weighing is Weighing.GIVEN else [1.0] * len(names), strict=True))
    sums: Sums = ExactSums(weights=given)
    if protocol is not None:
        sums = SecureSums(protocol=protocol, weights=given if chosen.weighing is Weighing.GIVEN else None, seed=seed)
    means = run_sums(chosen, dict(zip(names, clients, strict=True)), public, sums)
    values_sent = tuple(sum(block.size for block in mean) for mean in means)
    if isinstance(chosen, ProductSketch):
        found = chosen.reconstruct(means, public)
        return Combined(b=found.b, a=found.a, values_sent=values_sent, relative_error=found.relative_error)
    b, a = chosen.apply_sums(means, public)
    return Combined(b=b, a=a, values_sent=values_sent)


def _stacked(
    clients: Sequence[Factors], shares: Sequence[float], secure_sum: secagg.SecureSum | str | None
) -> Combined:
    if secure_sum is not None:
        raise ValueError(
            f"{STACKING.name}: reads every client's own factors, which a secure sum hides; leave secure_sum out, or "
            "choose flexlora, fedask or product_sketch"
        )
    b, a = STACKING.stack(clients, shares)
    return Combined(b=b, a=a, values_sent=(max(client.b.size + client.a.size for client in clients),))


def _check_name(strategy: str) -> None:
    known = [*FACTOR_STRATEGIES, STACKING.name, *STATEFUL]
    if strategy in STATEFUL:
        raise ValueError(
            f"{strategy}: {STATEFUL[strategy]}; combine runs {', '.join(sorted({*known} - {*STATEFUL}))} only"
        )
    if strategy not in known:
        hint = did_you_mean(str(strategy), known, closeness=0.5) or f"; there are {', '.join(sorted(known))}"
        raise ValueError(f"strategy: no strategy {strategy!r}{hint}")


def _read_weights(weights: Sequence[float], clients: int) -> tuple[float, ...]:
    """The weights as shares of 1."""
    values = np.asarray(weights)
    if values.shape != (clients,):
        raise ValueError(f"weights: shape {values.shape} for {clients} clients; give one each")
    if not np.issubdtype(values.dtype, np.number) or not np.isrealobj(values):
        raise ValueError(f"weights: {values.dtype} values; pass real numbers")
    values = values.astype(np.float64)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError("weights: all must be finite and positive; leave a client out instead of weighing it 0")
    values = values / values.max()
    return tuple(float(value) for value in values / values.sum())


def _protocol(secure_sum: secagg.SecureSum | str | None) -> secagg.SecureSum | None:
    if not isinstance(secure_sum, str):
        return secure_sum
    if secure_sum not in PROTOCOLS:
        raise ValueError(f"secure_sum: no protocol {secure_sum!r}; there are {', '.join(sorted(PROTOCOLS))}")
    return PROTOCOLS[secure_sum]()


def _check_ranks(strategy: FactorStrategy, public: ModulePlan, protocol: secagg.SecureSum | None) -> None:
    mixed = len(set(public.ranks)) > 1
    if strategy.mixed_ranks is MixedRanks.REFUSED and mixed:
        raise ValueError(
            f"{strategy.name}: clients have ranks {min(public.ranks)} to {public.largest_rank}, it needs equal ones; "
            "choose product_sketch, fedask, flexlora or hetlora"
        )
    if strategy.mixed_ranks is MixedRanks.REFUSED and public.rank < public.largest_rank:
        raise ValueError(
            f"{strategy.name}: keeps the clients' rank {public.largest_rank}, above rank = {public.rank}; raise it, or "
            "choose product_sketch, fedask or flexlora"
        )
    fewest = 1 if protocol is None else protocol.min_cohort
    if strategy.mixed_ranks is MixedRanks.SLOTS and mixed and public.fillers < fewest:
        raise ValueError(
            f"{strategy.name}: slot {public.slots} is filled by {public.fillers} clients, fewer than min_cohort = "
            f"{fewest}, so the sum would show them; lower rank, or choose product_sketch, fedask or flexlora"
        )
