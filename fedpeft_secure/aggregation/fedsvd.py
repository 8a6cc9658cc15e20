"""FedSVD: FFA, then the factors are re-orthogonalised by the server.

U Σ Vᵀ = SVD(B A); B ← U Σ, A ← Vᵀ leaves the product unchanged: pure post-processing of released sums.

Source: Lee et al. 2025, *FedSVD: Adaptive Orthogonalization for Private Federated Learning with LoRA*, the section
on the method.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Role, unflatten
from fedpeft_secure.aggregation.base import MixedRanks, Reads, Weighing
from fedpeft_secure.aggregation.factors import Blocks, Factors, ModulePlan
from fedpeft_secure.aggregation.fedit import step_along
from fedpeft_secure.aggregation.ffa import FFA, common_a
from fedpeft_secure.aggregation.low_rank import Pair
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer

RANK_TOLERANCE = 1e-7
"""Directions of B A below this share of the largest are taken for rounding: the factors stay as they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FedSVD:
    """Clients train B and the head; the server steps along their mean, then turns the factors by an SVD."""

    name: str = "fedsvd"
    reads: Reads = Reads.SUM
    mixed_ranks: MixedRanks = MixedRanks.REFUSED
    weighing: Weighing = Weighing.GIVEN

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """All but the factors A, which only the server changes."""
        return FFA().trainable(spec)

    def encode(self, delta: Mapping[str, np.ndarray], spec: AdapterSpec) -> np.ndarray:
        """The change of B and the head, flat."""
        return FFA().encode(delta, spec)

    def apply(
        self, state: AdapterState, mean: np.ndarray, spec: AdapterSpec, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """One server step on B and the head, then the SVD of every module; the optimiser's memory turns with B."""
        trained = self.trainable(spec)
        state, optimizer = step_along(state, mean, trained, optimizer)
        turns: dict[str, np.ndarray] = {}
        turned: dict[str, np.ndarray] = {}
        for module in spec.modules:
            a, b = spec.name_of(module, Role.LORA_A), spec.name_of(module, Role.LORA_B)
            factors = orthogonalise(state[b], state[a])
            if factors is not None:
                turned[b], turned[a], turns[b] = factors
        return state.replace(turned), optimizer.turned(lambda memory, power: _turn(memory, power, trained, turns))

    def encode_factors(self, factors: Factors, public: ModulePlan, sums: tuple[Blocks, ...]) -> Blocks:
        """B_k.

        Raises:
            ValueError: If the clients do not share A.
        """
        del sums
        common_a(public, self.name)
        return (factors.b,)

    def apply_sums(self, sums: tuple[Blocks, ...], public: ModulePlan) -> Pair:
        """Orthogonal factors of the mean of B times the A that all share."""
        ((b,),) = sums
        a = common_a(public, self.name)
        found = orthogonalise(b, a) if a.shape[0] <= min(public.d, public.n) else None
        return (b, a) if found is None else found[:2]


def orthogonalise(b: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Factors of the same product with orthonormal rows of A, and how gradients of B turn with them.

    With B' = B R, gradients obey ∂/∂B' = (∂/∂B) R⁻ᵀ. Without that turn an SVD's arbitrary signs and order scramble
    the optimiser's momentum.

    Args:
        b: shape (d, r).
        a: shape (r, n), r ≤ min(d, n).

    Returns:
        (B', A', R⁻ᵀ) of shapes (d, r), (r, n), (r, r); None while B A has rank below r (B starts at zero).
    """
    rank = a.shape[0]
    a = a.astype(np.float64)
    # SVD of the small core: with QR factors of B and Aᵀ the d × n product is never formed.
    basis_b, triangle_b = np.linalg.qr(b.astype(np.float64))
    basis_a, triangle_a = np.linalg.qr(a.T)
    left, values, right = np.linalg.svd(triangle_b @ triangle_a.T)
    if values[rank - 1] <= RANK_TOLERANCE * values[0]:
        return None
    new_a = right @ basis_a.T
    return basis_b @ (left * values), new_a, np.linalg.inv(a @ new_a.T).T


def _turn(memory: np.ndarray, power: int, trained: AdapterSpec, turns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The optimiser's memory of gradients (power 1) or squared gradients (power 2) in the new coordinates."""
    values = unflatten(memory, trained)
    return np.concatenate(
        [
            (values[entry.name] @ turns[entry.name] ** power if entry.name in turns else values[entry.name]).reshape(-1)
            for entry in trained.entries
        ]
    )
