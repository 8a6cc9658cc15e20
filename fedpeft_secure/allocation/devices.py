"""Devices: public facts about what a client can compute, and what a step costs on it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from fedpeft_secure.allocation.cost import Cost

MIB = 2**20
GIGA = 1e9

WORKSPACE, PASSING, HOLES = 6 * MIB, 1.5, 0.54
"""What torch and glibc's allocator make of a step's temporaries, found by `benchmarks/cost_model.py`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """What a device can do. Public: it may decide what its client trains, and is seen in what it sends.

    Args:
        kind: its name.
        memory_bytes: for model and training, beyond the interpreter and its libraries.
        seconds_per_flop: of matrix products.
        seconds_per_byte: of what `Cost.moved_bytes` counts; 0 where `seconds_per_flop` stands for everything.
        seconds_per_kernel: of what `Cost.kernels` counts.
        upload_bytes: of values that it may send in a round.
        workspace_bytes: that libraries keep for themselves once they have worked.
        passing_factor: resident bytes for each of `Cost.passing_bytes`.
        hole_share: share of `Cost.freed_bytes` that stays resident, because the allocator does not use it again.
    """

    kind: str
    memory_bytes: float
    seconds_per_flop: float
    seconds_per_byte: float = 0.0
    seconds_per_kernel: float = 0.0
    upload_bytes: float = float("inf")
    workspace_bytes: float = WORKSPACE
    passing_factor: float = PASSING
    hole_share: float = HOLES

    def peak_bytes(self, cost: Cost) -> float:
        """The most memory that a step on this device takes."""
        return (
            self.workspace_bytes
            + cost.weight_bytes
            + cost.kept_bytes
            + cost.state_bytes
            + self.hole_share * cost.freed_bytes
            + self.passing_factor * cost.passing_bytes
        )

    def step_seconds(self, cost: Cost) -> float:
        """How long a step on one physical batch takes."""
        return (
            self.seconds_per_flop * cost.flops
            + self.seconds_per_byte * cost.moved_bytes
            + self.seconds_per_kernel * cost.kernels
        )


def fit_memory(measured: Iterable[tuple[Cost, float]]) -> tuple[float, float, float]:
    """(workspace_bytes, passing_factor, hole_share), not negative, that explain measured peaks best.

    Args:
        measured: counts of a step, and its measured peak in bytes.
    """
    points = list(measured)
    counted = np.array([[MIB, cost.passing_bytes, cost.freed_bytes] for cost, _ in points], dtype=float)
    peaks = np.array([peak for _, peak in points])
    known = np.array([cost.weight_bytes + cost.kept_bytes + cost.state_bytes for cost, _ in points])
    workspace, passing, holes = nnls(counted / peaks[:, None], np.clip(peaks - known, 0, None) / peaks)[0]
    return float(workspace) * MIB, float(passing), float(holes)


def fit_time(measured: Iterable[tuple[Cost, float]]) -> tuple[float, float, float]:
    """(seconds_per_flop, seconds_per_byte, seconds_per_kernel), not negative, that explain measured step times.

    Args:
        measured: counts of a step, and its measured seconds.
    """
    points = list(measured)
    counted = np.array([[cost.flops, cost.moved_bytes, cost.kernels] for cost, _ in points])
    seconds = np.array([time for _, time in points])
    flop, byte, kernel = nnls(counted / seconds[:, None], np.ones(len(points)))[0]
    return float(flop), float(byte), float(kernel)
