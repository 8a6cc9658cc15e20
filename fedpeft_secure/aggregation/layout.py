"""How what a client sends is laid out in one vector: blocks with public ranges, and who fills what."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedpeft_secure.aggregation.factors import Blocks

Ranges = tuple[tuple[int, int], ...]
"""Half-open ranges of coordinates, ascending."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One array of the vector.

    Args:
        owner: the module or the tensor that it is of.
        shape: of the array.
        unit: what 1 in the vector stands for; public.
    """

    owner: str
    shape: tuple[int, ...]
    unit: float = 1.0

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layout:
    """The vector of one sum of a round.

    Args:
        blocks: in order.
        clip: the largest value that the codec takes.
        covered: what each client fills; all of it where it is not named.
        earlier: by module, the means of the sums of the round before this one.
    """

    blocks: tuple[Block, ...]
    clip: float
    covered: Mapping[str, Ranges] = field(default_factory=dict)
    earlier: Mapping[str, tuple[Blocks, ...]] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """Number of values."""
        return sum(block.size for block in self.blocks)

    def pack(self, values: Mapping[str, Blocks]) -> np.ndarray:
        """A client's blocks as one vector, shape (size,), float64.

        The blocks of an owner that leave their range are scaled down together, so that sketches of one product stay
        sketches of one product. Under DP this is post-processing of noised values.
        """
        return np.concatenate(
            [block.reshape(-1) for owner in self._owners for block in self._fitting(owner, values[owner])]
        )

    def unpack(self, vector: np.ndarray) -> dict[str, Blocks]:
        """The inverse of `pack`, but for the scaling: blocks by owner."""
        found: dict[str, Blocks] = {}
        parts = np.split(vector, np.cumsum([block.size for block in self.blocks])[:-1])
        for block, part in zip(self.blocks, parts, strict=True):
            found[block.owner] = (*found.get(block.owner, ()), part.reshape(block.shape) * block.unit)
        return found

    @property
    def _owners(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(block.owner for block in self.blocks))

    def _fitting(self, owner: str, arrays: Blocks) -> list[np.ndarray]:
        units = [block.unit for block in self.blocks if block.owner == owner]
        scaled = [array / unit for array, unit in zip(arrays, units, strict=True)]
        largest = max(float(np.abs(array).max(initial=0.0)) for array in scaled)
        factor = min(1.0, self.clip * (1 - 1e-9) / largest) if largest else 1.0
        return [array * factor for array in scaled]


def ranges_of(filled: np.ndarray) -> Ranges:
    """The ranges where `filled`, of shape (dim,) and bool, is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]]).astype(np.int8)))
    return tuple((int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True))


def covered(filled: Mapping[str, Sequence[np.ndarray]]) -> dict[str, Ranges]:
    """The ranges of every client, from masks block by block; nothing where all clients fill everything."""
    flat = {client: np.concatenate([mask.reshape(-1) for mask in masks]) for client, masks in filled.items()}
    if all(mask.all() for mask in flat.values()):
        return {}
    return {client: ranges_of(mask) for client, mask in flat.items()}


def unit_for(largest: float, clip: float) -> float:
    """The smallest power of 2^¼ that brings values up to `largest` within the codec's clip: alike on all machines."""
    if not largest > 0:
        return 1.0
    return float(2.0 ** (math.ceil(4 * math.log2(largest / clip) - 1e-6) / 4))
