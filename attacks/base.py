"""What every attack is made of: who is corrupt, what that reveals, and what an attacker makes of it.

`ThreatModel` → `View` (from recorded messages, see `views.py`) → `Attack.run` → `Guess` → `score` → `Score`.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from functools import singledispatch
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from attacks.errors import AttackError, ViewTooWeakError
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.result import ViewName

Floats = NDArray[np.float64]


class Granularity(IntEnum):
    """How finely an adversary sees updates; a larger value reveals more."""

    SUM = 1
    INDIVIDUAL = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ThreatModel:
    """Who is corrupt and how.

    Args:
        party: whose eyes the adversary has: "server" (all messages that it is sent, and all that is public).
        behaviour: "curious" follows the protocol and only looks.
        target: the client whose message is read, or None for the sum.
    """

    party: Literal["server"] = "server"
    behaviour: Literal["curious"] = "curious"
    target: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class View:
    """What the adversary of `threat` learns from one round: recorded messages and public knowledge, nothing else.

    Args:
        threat: who is corrupt.
        granularity: whether `observed` is one client's contribution or the mean of many.
        plan: the round's public plan.
        trained: the structure of `observed`.
        before: the adapter that the server sent out.
        observed: what the messages decode to, shape (trained.size,): a change of the adapter.
        contributors: the clients whose updates are in `observed`.
        noise_stddev: standard deviation of the DP noise on one coordinate of `observed`; public, 0 without DP.
        rounding_stddev: the same of the codec's rounding; public.
    """

    threat: ThreatModel
    granularity: Granularity
    plan: RoundPlan
    trained: AdapterSpec
    before: AdapterState = field(repr=False)
    observed: Floats = field(repr=False)
    contributors: tuple[str, ...]
    noise_stddev: float
    rounding_stddev: float

    def __post_init__(self) -> None:
        observed = np.array(self.observed, dtype=np.float64)
        if observed.shape != (self.trained.size,):
            raise AttackError(f"View.observed must have shape ({self.trained.size},), got {observed.shape}")
        if not np.isfinite(observed).all():
            raise AttackError("View.observed must be finite; a contribution that is not was never summed")
        observed.flags.writeable = False
        object.__setattr__(self, "observed", observed)

    @property
    def name(self) -> ViewName:
        """The view's name in results."""
        if self.granularity is Granularity.INDIVIDUAL:
            return "individual-dp" if self.plan.private else "individual"
        return "sum-dp" if self.plan.private else "sum"


class Guess(Protocol):
    """What an attack claims to have found out."""


class Truth(Protocol):
    """What was really there, known to the referee only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How right a guess is, never without its interval and its null control.

    Args:
        metric: what is measured; higher is a better attack.
        value: of the attack.
        low, high: ends of the 95 % interval.
        null: the same metric where there is nothing to find.
        remarks: further measures, in words.
    """

    metric: str
    value: float
    low: float
    high: float
    null: float
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise AttackError(f"Score.value must lie in [low, high], got {self.value} in [{self.low}, {self.high}]")


@runtime_checkable
class Attack(Protocol):
    """A frozen dataclass that declares the weakest view on which it works."""

    @property
    def needs(self) -> Granularity:
        """The coarsest granularity that is enough."""
        ...

    def run(self, view: View, *, rng: np.random.Generator) -> Guess:
        """Makes a guess from `view` and public knowledge."""
        ...


def refuse_weaker(attack: Attack, view: View) -> None:
    """Refuses a view that reveals less than `attack` needs.

    Raises:
        ViewTooWeakError: Names the attack, what it needs and what it was given.
    """
    if view.granularity < attack.needs:
        raise ViewTooWeakError(
            f"{type(attack).__name__} needs {attack.needs.name.lower()} updates, the view {view.name!r} reveals only a "
            "sum; choose an attack that works on sums, or a run without a secure sum"
        )


@singledispatch
def score(guess: Guess, truth: Truth) -> Score:
    """Compares a guess with the truth; each family of attacks registers its own rule.

    Raises:
        AttackError: If nothing is registered for this kind of guess.
    """
    raise AttackError(f"no rule scores a {type(guess).__name__} against a {type(truth).__name__}")
