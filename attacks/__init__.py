"""Attacks on the recorded transcript of a run, and the audits of its guarantees."""

from attacks.base import Attack, Granularity, Guess, Score, ThreatModel, Truth, View, refuse_weaker, score
from attacks.errors import AttackError, NotApplicableError, ViewTooWeakError

__all__ = [
    "Attack",
    "AttackError",
    "Granularity",
    "Guess",
    "NotApplicableError",
    "Score",
    "ThreatModel",
    "Truth",
    "View",
    "ViewTooWeakError",
    "refuse_weaker",
    "score",
]
