"""Named child generators: every random choice of a simulation has its own stream, found by name.

Simulation only. Keys, masks and deployed noise come from the operating system's generator instead.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Seed:
    """The root of all named streams of one run."""

    root: int

    def entropy(self, *path: str | int) -> int:
        """The 128-bit seed of the stream called `path`."""
        name = "/".join(str(part) for part in ("fedpeft-secure/seeds/v1", self.root, *path))
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "big")

    def child(self, *path: str | int) -> np.random.Generator:
        """A NumPy generator for `path`, for example `child("round", 3, "client", 7)`."""
        return np.random.default_rng(self.entropy(*path))

    def torch_child(self, *path: str | int) -> torch.Generator:
        """A PyTorch CPU generator for `path`."""
        return torch.Generator().manual_seed(self.entropy(*path) % 2**63)
