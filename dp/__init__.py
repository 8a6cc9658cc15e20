"""Differential privacy: events, accounting, ledger, noise and DP-SGD. Imports nothing of the other packages."""

from dp.accounting import compose, epsilon, noise_multiplier
from dp.charges import Charge, ReleaseId
from dp.errors import BudgetExceeded, LedgerError, PrivacyError, UnreachableBudget
from dp.events import (
    DiscreteGaussianSum,
    NonPrivate,
    PrivacyBudget,
    PrivacyEvent,
    PrivacySpent,
    SampledGaussian,
    SkellamSum,
)
from dp.ledger import Ledger

__all__ = [
    "BudgetExceeded",
    "Charge",
    "DiscreteGaussianSum",
    "Ledger",
    "LedgerError",
    "NonPrivate",
    "PrivacyBudget",
    "PrivacyError",
    "PrivacyEvent",
    "PrivacySpent",
    "ReleaseId",
    "SampledGaussian",
    "SkellamSum",
    "UnreachableBudget",
    "compose",
    "epsilon",
    "noise_multiplier",
]
