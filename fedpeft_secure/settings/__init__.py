"""One frozen model for each table of the configuration file, with every default and its description."""

from fedpeft_secure.settings.allocation import AllocationConfig, DeviceTerms, MeasuredImportance
from fedpeft_secure.settings.attacks import AttacksConfig
from fedpeft_secure.settings.budgets import FORMS, BudgetDistribution, ClientTerms, GroupTerms
from fedpeft_secure.settings.clients import ClientsConfig
from fedpeft_secure.settings.data import DataConfig, PartitionConfig, SyntheticConfig
from fedpeft_secure.settings.model import ModelConfig
from fedpeft_secure.settings.peft import PeftTable
from fedpeft_secure.settings.privacy import ClippingConfig, PrivacyConfig
from fedpeft_secure.settings.secure_sum import AggregationConfig, SecureSumConfig
from fedpeft_secure.settings.training import TrainingConfig
from fedpeft_secure.settings.types import Fraction, Rate, Table, Unit

__all__ = [
    "FORMS",
    "AggregationConfig",
    "AllocationConfig",
    "AttacksConfig",
    "BudgetDistribution",
    "ClientTerms",
    "ClientsConfig",
    "ClippingConfig",
    "DataConfig",
    "DeviceTerms",
    "Fraction",
    "GroupTerms",
    "MeasuredImportance",
    "ModelConfig",
    "PartitionConfig",
    "PeftTable",
    "PrivacyConfig",
    "Rate",
    "SecureSumConfig",
    "SyntheticConfig",
    "Table",
    "TrainingConfig",
    "Unit",
]
