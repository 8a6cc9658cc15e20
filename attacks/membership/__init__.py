"""Membership inference: was this example in the batch?"""

from attacks.membership.lira import lira
from attacks.membership.loss import CalibratedMembership, LossMembership
from attacks.membership.scoring import MembershipGuess, MembershipTruth, Separation, separation

__all__ = [
    "CalibratedMembership",
    "LossMembership",
    "MembershipGuess",
    "MembershipTruth",
    "Separation",
    "lira",
    "separation",
]
