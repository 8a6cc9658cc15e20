"""Differential privacy: events, accounting, ledger, noise and DP-SGD. Imports nothing of the other packages."""

from dp.accounting import compose, epsilon, noise_multiplier
from dp.calibration import affordable_steps, sample_rate
from dp.charges import Charge, ReleaseId
from dp.errors import BudgetExceeded, LedgerError, PrivacyError, UnreachableBudget
from dp.events import (
    DiscreteGaussianSum,
    GroupedGaussian,
    NonPrivate,
    PrivacyBudget,
    PrivacyEvent,
    PrivacySpent,
    SampledGaussian,
    SkellamSum,
    seen_by,
)
from dp.individual import IndividualRates, individual_rates
from dp.ledger import Ledger

__all__ = [
    "BudgetExceeded",
    "Charge",
    "DiscreteGaussianSum",
    "GroupedGaussian",
    "IndividualRates",
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
    "affordable_steps",
    "compose",
    "epsilon",
    "individual_rates",
    "noise_multiplier",
    "sample_rate",
    "seen_by",
]
