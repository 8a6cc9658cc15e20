"""What the numbers of a run say, decided in one place: is it private, is it within budget, did an attack win."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from fedpeft_secure.result import AttackRow, ClientPrivacy, Privacy, RoundRecord, ViewName

VIEW_NAMES: dict[ViewName, str] = {
    "individual": "each message",
    "individual-dp": "each message, DP",
    "sum": "sum only",
    "sum-dp": "sum only, DP",
}
"""The four views in the order in which defences are added."""


CHANCE = {"AUC": 0.5}
"""Metrics whose value for blind guessing is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trajectory:
    """The ε that some clients had spent after each round, as (round, ε), and the budget that they share."""

    clients: tuple[str, ...]
    budget: float
    points: tuple[tuple[int, float], ...]

    @property
    def label(self) -> str:
        """A short name for a legend."""
        return ", ".join(self.clients) if len(self.clients) <= 2 else f"{len(self.clients)} clients"


class Verdict(Enum):
    """How an attack fared against its own null control."""

    ABOVE = "beats guessing"
    GUESSING = "no better"
    NO_CONTROL = "no null control"
    NO_INTERVAL = "above, no interval"
    NOT_MEASURED = "not measured"


def verdict(row: AttackRow) -> Verdict:
    """Compares an attack with its null control: it wins when its whole interval lies above that, and above chance.

    A null control is measured on few examples too, and may fall below chance by accident; that is no success.
    Assumes: a higher value is a better attack.
    """
    if row.value is None:
        return Verdict.NOT_MEASURED
    if row.null is None:
        return Verdict.NO_CONTROL
    guessing = guessed(row.metric, row.null)
    if row.low is None:
        return Verdict.NO_INTERVAL if row.value > guessing else Verdict.GUESSING
    return Verdict.ABOVE if row.low > guessing else Verdict.GUESSING


def guessed(metric: str, null: float) -> float:
    """What guessing is worth: the null control, or chance where the control fell below it by accident."""
    return max(null, CHANCE.get(metric, null))


def unprotected_clients(privacy: Privacy) -> tuple[str, ...]:
    """The clients whose messages no finite ε covers; all of them where no noise was added at all."""
    nothing = not privacy.private or privacy.noise == "none"
    return tuple(row.client for row in privacy.clients if nothing or math.isinf(row.epsilon_spent))


def is_private(privacy: Privacy) -> bool:
    """Whether every client has a finite ε."""
    return bool(privacy.private and privacy.clients) and not unprotected_clients(privacy)


def is_over_budget(row: ClientPrivacy) -> bool:
    """Whether a client spent more than it allowed."""
    return row.epsilon_spent > row.epsilon_budget


def largest_spender(privacy: Privacy) -> ClientPrivacy | None:
    """The client with the largest ε spent."""
    return max(privacy.clients, key=lambda row: row.epsilon_spent, default=None)


def ordered(rows: Iterable[AttackRow]) -> list[AttackRow]:
    """Attack rows by attack and metric as they came, then by view with defences added one at a time."""
    kept = list(rows)
    views = list(VIEW_NAMES)
    first: dict[tuple[str, str], int] = {}
    for row in kept:
        first.setdefault((row.attack, row.metric), len(first))
    return sorted(kept, key=lambda row: (first[row.attack, row.metric], views.index(row.view), not row.replay))


def grouped(rows: Iterable[AttackRow]) -> dict[tuple[str, str], list[AttackRow]]:
    """The measured rows of each attack and metric: what can share one axis."""
    groups: dict[tuple[str, str], list[AttackRow]] = {}
    for row in ordered(rows):
        if row.value is not None:
            groups.setdefault((row.attack, row.metric), []).append(row)
    return groups


def trajectories(rounds: tuple[RoundRecord, ...], privacy: Privacy) -> list[Trajectory]:
    """The finite ε histories, largest first; clients with the same budget and history share one."""
    clients: dict[tuple[float, tuple[tuple[int, float], ...]], list[str]] = {}
    for row in privacy.clients:
        spent = tuple((r.round, r.epsilon_spent[row.client]) for r in rounds if row.client in r.epsilon_spent)
        points = tuple((index, round(epsilon, 6)) for index, epsilon in spent if math.isfinite(epsilon))
        if points:
            clients.setdefault((row.epsilon_budget, points), []).append(row.client)
    found = [
        Trajectory(clients=tuple(names), budget=budget, points=points) for (budget, points), names in clients.items()
    ]
    return sorted(found, key=lambda trajectory: trajectory.points[-1][1], reverse=True)
