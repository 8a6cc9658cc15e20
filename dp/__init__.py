"""Differential privacy: events, accounting, ledger, noise and DP-SGD. Imports nothing of the other packages."""

from dp.accounting import compose, epsilon, noise_multiplier
from dp.charges import Charge, ReleaseId
from dp.errors import BudgetExceeded, LedgerError, PrivacyError, UnreachableBudget
from dp.events import NonPrivate, PrivacyBudget, PrivacyEvent, PrivacySpent, SampledGaussian
from dp.ledger import Ledger

__all__ = [
    "BudgetExceeded",
    "Charge",
    "Ledger",
    "LedgerError",
    "NonPrivate",
    "PrivacyBudget",
    "PrivacyError",
    "PrivacyEvent",
    "PrivacySpent",
    "ReleaseId",
    "SampledGaussian",
    "UnreachableBudget",
    "compose",
    "epsilon",
    "noise_multiplier",
]
