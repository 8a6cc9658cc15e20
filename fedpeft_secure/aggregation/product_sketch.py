"""The product sketch: near-optimal factors of the mean product of any ranks, from one sum of linear sketches.

Every client sends Y_k = B_k (A_k Ω) and Z_k = (Ψ B_k) A_k, with Ω (n × s) and Ψ (l × d) drawn from the public seed.
Both are linear in its product, so their means are sketches of the mean product M: masks, homomorphic encryption and
weights just work, and nobody's rank shows. The server takes the ρ strongest directions Q of Y, solves X = (Ψ Q)⁺ Z,
moves Q X to the nearest matrix that has these sketches, and cuts that to the wanted rank. With ρ = s, and without the
move, this is the formula of the source. A smaller ρ keeps noise out of the answer; the server takes the one of the
smallest error, which it estimates from the sums that it has:

    What Q misses is E = M − Q Qᵀ M. Z shows it through l − ρ random directions of the d − ρ outside Q, and Q depends
    on Ω only, so (d − ρ)/(l − ρ) ‖(I − (Ψ Q)(Ψ Q)⁺) Z‖² estimates ‖E‖² without bias.

Sizes: s = l = 3.1r, 3.1 times the factors' bytes. The squared error at ρ = r grows with r/(s−r−1) + r/(l−r−1), smallest
for s = l; `docs/aggregation.md` measures it against l = 2s + 1. Exact when s and l reach the rank of the sum; six more
keep rounding from being blown up. Ω and Ψ are orthonormal: the subspaces of Gaussian ones, less noise.

Source: Tropp, Yurtsever, Udell, Cevher 2017, *Practical Sketching Algorithms for Low-Rank Matrix Approximation*,
Algorithms 4 and 7; the choice of ρ, its estimate and the move are ours.
"""

import math
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.aggregation.base import MixedRanks, Reads, Weighing
from fedpeft_secure.aggregation.factors import Blocks, Factors, ModulePlan
from fedpeft_secure.aggregation.low_rank import Pair, svd, truncate, truncate_factors

OVERSAMPLING = 6
"""Rows and columns of the sketch beyond the rank that must be exact, at least."""

TENTHS_PER_RANK = 31
"""Rows and columns of the sketch for ten ranks of the answer: 3.1 times the bytes of its factors at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SketchSize:
    """Ω has `columns` s, Ψ has `rows` l."""

    columns: int
    rows: int

    def values(self, public: ModulePlan) -> int:
        """How many values a client sends for the module."""
        return self.columns * public.d + self.rows * public.n


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reconstruction:
    """What the server makes of the sketches.

    Args:
        b, a: the factors, (d, r) and (r, n).
        kept: ρ, the directions of Y that were used.
        error: estimate of ‖M − B A‖_F, from the sums alone; root mean square over Ψ, on the large side.
        norm: estimate of ‖M‖_F.
    """

    b: np.ndarray
    a: np.ndarray
    kept: int
    error: float
    norm: float

    @property
    def relative_error(self) -> float:
        """`error` as a share of `norm`."""
        return self.error / self.norm if self.norm > 0 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductSketch:
    """Clients send two sketches of their product; `size` overrides the one that fits ranks and cohort."""

    name: str = "product_sketch"
    reads: Reads = Reads.SUM
    mixed_ranks: MixedRanks = MixedRanks.DENSE
    weighing: Weighing = Weighing.GIVEN
    size: SketchSize | None = None

    def size_for(self, public: ModulePlan) -> SketchSize | None:
        """The sketch of a module, or None where the whole product is not larger."""
        size = self.size or sketch_size(public)
        return size if size.values(public) < public.d * public.n else None

    def encode_factors(self, factors: Factors, public: ModulePlan, sums: tuple[Blocks, ...]) -> Blocks:
        """Y_k and Z_k, or the product."""
        del sums
        size = self.size_for(public)
        if size is None:
            return (factors.product(),)
        omega = public.test_matrix("omega", rows=public.n, columns=size.columns)
        psi = public.test_matrix("psi", rows=public.d, columns=size.rows).T
        return factors.b @ (factors.a @ omega), (psi @ factors.b) @ factors.a

    def apply_sums(self, sums: tuple[Blocks, ...], public: ModulePlan) -> Pair:
        """The factors of `reconstruct`."""
        found = self.reconstruct(sums, public)
        return found.b, found.a

    def reconstruct(self, sums: tuple[Blocks, ...], public: ModulePlan) -> Reconstruction:
        """The factors from the means of the sketches, with the estimate of their error."""
        (sketches,) = sums
        size = self.size_for(public)
        if size is None:
            return _whole(sketches[0], public.rank_of_answer)
        psi = public.test_matrix("psi", rows=public.d, columns=size.rows).T
        omega = public.test_matrix("omega", rows=public.n, columns=size.columns)
        return reconstruct(sketches[0], sketches[1], omega=omega, psi=psi, rank=public.rank_of_answer)


def sketch_size(public: ModulePlan) -> SketchSize:
    """s = l = 3.1r, at least r + 6, but not much above the rank that ranks and cohort let the sum have.

    That rank and an eighth, or six, is enough to be exact and to keep 16-bit rounding from being blown up.
    """
    wanted = max(TENTHS_PER_RANK * public.rank_of_answer // 10, public.rank_of_answer + OVERSAMPLING)
    enough = public.rank_of_sum + max(OVERSAMPLING, public.rank_of_sum // 8)
    side = min(wanted, enough)
    return SketchSize(columns=side, rows=side)


def reconstruct(y: np.ndarray, z: np.ndarray, *, omega: np.ndarray, psi: np.ndarray, rank: int) -> Reconstruction:
    """Factors of the matrix M that was sketched.

    Args:
        y: M Ω, shape (d, s).
        z: Ψ M, shape (l, n).
        omega: Ω, shape (n, s), orthonormal columns.
        psi: Ψ, shape (l, d), orthonormal rows.
        rank: of the answer.

    Returns:
        The answer for the ρ of the smallest estimated error. Few random directions can flatter a ρ; but where some Q X
        is known to be near M, no answer can be nearer to M than to Q X, up to that, so this bounds every estimate.
    """
    directions, strengths, _ = svd(y)
    known = max(1, int((strengths > max(y.shape) * np.finfo(np.float64).eps * strengths[0]).sum()))
    # Z = core · (orthonormal rows): all of this happens in l × l matrices.
    rows_z, triangle_z = np.linalg.qr(z.T)
    seen, triangle = np.linalg.qr(psi @ directions[:, :known], mode="complete")
    core = seen.T @ triangle_z.T
    largest = min(known, z.shape[0] - 1)
    fits = [_fit(core, triangle, kept, rank=rank, d=y.shape[0]) for kept in range(min(rank, largest), largest + 1)]
    nearest = min(fits, key=lambda fit: fit.missed)
    errors = [max(fit.error, _distance(fit.answer, nearest.solution) - nearest.missed) for fit in fits]
    error, best = min(zip(errors, fits, strict=True), key=lambda pair: pair[0])
    left, right = onto_sketches(directions[:, : best.kept], best.solution @ rows_z.T, y, z, omega=omega, psi=psi)
    b, a = truncate_factors(left, right, rank)
    return Reconstruction(b=b, a=a, kept=best.kept, error=error, norm=nearest.norm)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Fit:
    """One ρ, in the coordinates of the directions and of the rows of Z.

    Args:
        solution: X. answer: X cut to the wanted rank.
        missed: estimate of ‖M − Q X‖. error: of ‖M − Q answer‖. norm: of ‖M‖.
    """

    kept: int
    solution: np.ndarray
    answer: np.ndarray
    missed: float
    error: float
    norm: float


def _fit(core: np.ndarray, triangle: np.ndarray, kept: int, *, rank: int, d: int) -> _Fit:
    """Solves Ψ Q X = Z for the first `kept` directions, Ψ Q = (orthonormal) · triangle, Z = (the same) · core."""
    inverse = np.linalg.inv(triangle[:kept, :kept])
    solution = inverse @ core[:kept]
    b, a = truncate(solution, rank)
    outside = float((core[kept:] ** 2).sum()) * (d - kept) / (len(core) - kept)  # ‖E‖²
    leaked = outside / (d - kept) * max(0.0, float((inverse**2).sum()) - kept)  # ‖(Ψ Q)⁺ Ψ E‖²: what E adds to X
    cut = float(((solution - b @ a) ** 2).sum())
    return _Fit(
        kept=kept,
        solution=solution,
        answer=b @ a,
        missed=math.sqrt(outside + leaked),
        error=math.sqrt(outside + leaked + cut),
        norm=math.sqrt(max(0.0, float((solution**2).sum()) - leaked + outside)),
    )


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """‖one − other‖_F, the shorter filled up with rows of zeros."""
    rows = max(len(one), len(other))
    padded = [np.pad(matrix, ((0, rows - len(matrix)), (0, 0))) for matrix in (one, other)]
    return float(np.linalg.norm(padded[0] - padded[1]))


def onto_sketches(
    left: np.ndarray, right: np.ndarray, y: np.ndarray, z: np.ndarray, *, omega: np.ndarray, psi: np.ndarray
) -> Pair:
    """Factors of the matrix closest to `left @ right` that has the sketches `y` and `z`; M has them, so this is nearer.

    Projects onto Ψ M = Z, then onto M Ω = Y, which keeps the first since Ψ Y = Z Ω.
    """
    missing_z = z - (psi @ left) @ right
    missing_y = y - left @ (right @ omega) - psi.T @ (missing_z @ omega)
    return np.hstack([left, psi.T, missing_y]), np.vstack([right, missing_z, omega.T])


def _whole(product: np.ndarray, rank: int) -> Reconstruction:
    """The best answer, where the product itself was sent."""
    values = svd(product)[1]
    b, a = truncate(product, rank)
    error, norm = (float(np.linalg.norm(part)) for part in (values[rank:], values))
    return Reconstruction(b=b, a=a, kept=len(values), error=error, norm=norm)
