"""What is asked for: a floor, ceilings, and each client's own limits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fedpeft_secure.allocation.device_terms import client_devices
from fedpeft_secure.allocation.devices import MIB, Device
from fedpeft_secure.budgets import delta_of, epsilon_limit
from fedpeft_secure.config import Config
from fedpeft_secure.errors import InputError

KIB = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What a recommendation must keep.

    Args:
        min_accuracy: the floor of test accuracy; 0 for none.
        max_excess: what any attack may get above its null control; None for no such ceiling.
        max_leaks: ceilings by (attack, metric).
        max_epsilon: of every client; beside it, each client's own.
        epsilons: each client's own largest ε.
        devices: each client's device; empty where nothing is said about devices.
        round_seconds: the longest local training of a round, where there are devices.
        max_upload_bytes, max_memory_bytes: of every client.
        unit, deltas: what every ε must hold for, and each client's own largest δ; None and empty where nobody said.
    """

    min_accuracy: float = 0.0
    max_excess: float | None = None
    max_leaks: Mapping[tuple[str, str], float] = field(default_factory=dict)
    max_epsilon: float = math.inf
    epsilons: Mapping[str, float] = field(default_factory=dict)
    devices: Mapping[str, Device] = field(default_factory=dict)
    round_seconds: float = math.inf
    max_upload_bytes: float = math.inf
    max_memory_bytes: float = math.inf
    unit: Literal["example", "client"] | None = None
    deltas: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.min_accuracy <= 1:
            raise InputError(f"--min-accuracy {self.min_accuracy:g}: give a share between 0 and 1, such as 0.72")

    def epsilon_of(self, client: str) -> float:
        """The most that a client is to spend."""
        return min(self.max_epsilon, self.epsilons.get(client, math.inf))


def make_wishes(
    base: Config | None,
    *,
    min_accuracy: float = 0.0,
    max_leakage: Sequence[str] = (),
    max_epsilon: float = math.inf,
    max_upload_kib: float = math.inf,
    max_memory_mib: float = math.inf,
) -> Wishes:
    """Wishes for everybody, and each client's own from a configuration: its ε, its device, the longest round.

    Args:
        base: its budgets and declared devices are wishes; None for no client's own.
        min_accuracy: the floor.
        max_leakage: texts such as "0.05" (above the null control, any attack) or "membership.AUC=0.55".
        max_epsilon, max_upload_kib, max_memory_mib: of every client.

    Raises:
        InputError: Names the option and the remedy.
    """
    excess, leaks = parse_leak_limits(max_leakage)
    epsilons: dict[str, float] = {}
    devices: dict[str, Device] = {}
    deltas: dict[str, float] = {}
    if base is not None:
        epsilons = {name: epsilon_limit(base, name) for name in base.client_names}
        deltas = {name: delta_of(base, name) for name in base.client_names if base.is_private(name)}
        if base.allocation.devices:
            devices = dict(zip(base.client_names, client_devices(base), strict=True))
    return Wishes(
        min_accuracy=min_accuracy,
        max_excess=excess,
        max_leaks=leaks,
        max_epsilon=max_epsilon,
        epsilons=epsilons,
        devices=devices,
        round_seconds=math.inf if base is None else base.allocation.round_seconds,
        max_upload_bytes=max_upload_kib * KIB,
        max_memory_bytes=max_memory_mib * MIB,
        unit=None if base is None or not deltas else base.privacy.unit,
        deltas=deltas,
    )


def parse_leak_limits(texts: Sequence[str]) -> tuple[float | None, dict[tuple[str, str], float]]:
    """Reads `--max-leakage 0.05` (above the null control, any attack) and `--max-leakage membership.AUC=0.55`.

    Raises:
        InputError: If one is neither.
    """
    excess: float | None = None
    limits: dict[tuple[str, str], float] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        attack, dot, metric = name.partition(".")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or (equals and not (attack and dot and metric)):
            raise InputError(
                f"--max-leakage {text!r}: give a number above the null control, such as 0.05, or ATTACK.METRIC=VALUE, "
                "such as membership.AUC=0.55"
            )
        if equals:
            limits[attack.strip(), metric.strip()] = value
        else:
            excess = value
    return excess, limits
