"""Membership inference: was this example in the batch?"""

from attacks.membership.fedmia import FedMia
from attacks.membership.lira import lira
from attacks.membership.loss import CalibratedMembership, LossMembership
from attacks.membership.min_k import MinKMembership
from attacks.membership.plots import roc_figure
from attacks.membership.scoring import MembershipGuess, MembershipTruth, Separation, separation
from attacks.membership.shadow_attacks import LiraMembership, QuantileMembership, RmiaMembership
from attacks.membership.shadows import Shadows, train_shadows
from attacks.membership.statistics import (
    confidence_scores,
    fedmia_scores,
    lira_scores,
    min_k_score,
    quantile_scores,
    reference_scores,
    rmia_scores,
)
from attacks.membership.update_cosine import UpdateCosineMembership

__all__ = [
    "CalibratedMembership",
    "FedMia",
    "LiraMembership",
    "LossMembership",
    "MembershipGuess",
    "MembershipTruth",
    "MinKMembership",
    "QuantileMembership",
    "RmiaMembership",
    "Separation",
    "Shadows",
    "UpdateCosineMembership",
    "confidence_scores",
    "fedmia_scores",
    "lira",
    "lira_scores",
    "min_k_score",
    "quantile_scores",
    "reference_scores",
    "rmia_scores",
    "roc_figure",
    "separation",
    "train_shadows",
]
