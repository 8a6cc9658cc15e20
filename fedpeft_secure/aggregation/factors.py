"""One module as the strategies see it: a client's factors, and what everybody knows before they are added up."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from fedpeft_secure.seeds import Seed

Blocks = tuple[np.ndarray, ...]
"""What a client sends for a module: arrays whose shapes are public and the same for every client."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Factors:
    """A client's ΔW = B A in float64, with α/r folded in; its own, never sent as it is under a secure sum.

    Args:
        b: shape (d, r).
        a: shape (r, n).

    Raises:
        ValueError: If the shapes do not fit, or a value is not finite.
    """

    b: np.ndarray = field(repr=False)
    a: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        matrices = self.b.ndim == self.a.ndim == 2
        if not matrices or self.b.shape[1] != self.a.shape[0] or 0 in self.b.shape + self.a.shape:
            raise ValueError(f"B has shape {self.b.shape} and A {self.a.shape}; they must be (d, r) and (r, n)")
        for name in ("b", "a"):
            values = getattr(self, name)
            if not np.isrealobj(values) or not np.issubdtype(values.dtype, np.number):
                raise ValueError(f"{name.upper()} holds {values.dtype} values; pass real numbers")
            frozen = np.array(values, dtype=np.float64)
            if not np.isfinite(frozen).all():
                raise ValueError(f"{name.upper()} holds NaN or infinity; leave this client out")
            frozen.setflags(write=False)
            object.__setattr__(self, name, frozen)

    @property
    def rank(self) -> int:
        """The number of slots: columns of B, rows of A."""
        return int(self.a.shape[0])

    def product(self) -> np.ndarray:
        """ΔW, shape (d, n)."""
        return self.b @ self.a

    def norm(self) -> float:
        """The Frobenius norm of ΔW, without forming it."""
        triangle_b, triangle_a = (np.linalg.qr(matrix)[1] for matrix in (self.b, self.a.T))
        return float(np.linalg.norm(triangle_b @ triangle_a.T))

    def in_slots(self, slots: int) -> "Factors":
        """The first `slots` slots: further ones are cut off, missing ones are zero."""
        missing = max(0, slots - self.rank)
        b, a = self.b[:, :slots], self.a[:slots]
        return Factors(b=np.pad(b, ((0, 0), (0, missing))), a=np.pad(a, ((0, missing), (0, 0))))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ModulePlan:
    """All that is public about a module before anything is added up.

    Args:
        d, n: ΔW has shape (d, n).
        ranks: of all clients; what devices can bear is public, what their data need is not.
        rank: the largest rank of the answer.
        seed: of the public test matrices.
        shared_a: the A whose first rows every client holds, shape (max rank, n), or None.
    """

    d: int
    n: int
    ranks: tuple[int, ...]
    rank: int
    seed: int = 0
    shared_a: np.ndarray | None = field(default=None, repr=False)

    @property
    def largest_rank(self) -> int:
        """The rank of the best equipped client."""
        return max(self.ranks)

    @property
    def rank_of_sum(self) -> int:
        """No sum of the clients' products has a larger rank."""
        return min(sum(self.ranks), self.d, self.n)

    @property
    def rank_of_answer(self) -> int:
        """`rank`, or what the module's shape allows."""
        return min(self.rank, self.d, self.n)

    @property
    def slots(self) -> int:
        """How many rank slots are sent by those that send slots: none that the answer has no room for."""
        return min(self.rank, self.largest_rank)

    @property
    def fillers(self) -> int:
        """How many clients fill the emptiest of these slots."""
        return sum(rank >= self.slots for rank in self.ranks)

    def test_matrix(self, name: str, *, rows: int, columns: int) -> np.ndarray:
        """The public matrix called `name`: `columns` ≤ `rows` random orthonormal columns, the same for everybody."""
        return _test_matrix(self.seed, name, rows, columns)


def read_factors(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[Factors, ...]:
    """Checks the clients' (B, A) and makes them float64.

    Raises:
        ValueError: If there are none, shapes do not fit each other, or a value is not finite.
    """
    if len(pairs) == 0:
        raise ValueError("factors: there are none; pass one pair (B, A) for each client")
    clients = []
    for number, pair in enumerate(pairs):
        if len(pair) != 2:
            raise ValueError(f"factors[{number}]: {len(pair)} arrays; pass a pair (B, A)")
        try:
            clients.append(Factors(b=np.asarray(pair[0]), a=np.asarray(pair[1])))
        except ValueError as error:
            raise ValueError(f"factors[{number}]: {error}") from error
    shapes = {(client.b.shape[0], client.a.shape[1]) for client in clients}
    if len(shapes) > 1:
        raise ValueError(f"factors: products of shapes {sorted(shapes)}; all clients must tune the same module")
    return tuple(clients)


def shared_a(clients: Sequence[Factors]) -> np.ndarray | None:
    """The A of the largest rank, if all others are its first rows; else None."""
    largest = max(clients, key=lambda client: client.rank).a
    return largest if all(np.array_equal(client.a, largest[: client.rank]) for client in clients) else None


@lru_cache(maxsize=8)
def _test_matrix(seed: int, name: str, rows: int, columns: int) -> np.ndarray:
    normal = Seed(seed).child("aggregation", name, rows, columns).standard_normal((rows, columns))
    basis, triangle = np.linalg.qr(normal)
    matrix: np.ndarray = basis * np.where(np.diag(triangle) < 0, -1.0, 1.0)  # one sign, whatever LAPACK prefers
    matrix.setflags(write=False)
    return matrix
