"""Audits: lower bounds on ε from what an attack achieved, beside the upper bound of the ledger."""

from attacks.audit.clopper_pearson import epsilon_clopper_pearson
from attacks.audit.exposure import Exposures, exposure, secret_exposures
from attacks.audit.gdp import epsilon_gdp
from attacks.audit.one_run import epsilon_one_run
from attacks.audit.replay import replay_ledger
from attacks.audit.result import AuditResult
from attacks.audit.run import AuditFailedError, audit, replayed, require_passed
from attacks.audit.table import audit_table

__all__ = [
    "AuditFailedError",
    "AuditResult",
    "Exposures",
    "audit",
    "audit_table",
    "epsilon_clopper_pearson",
    "epsilon_gdp",
    "epsilon_one_run",
    "exposure",
    "replay_ledger",
    "replayed",
    "require_passed",
    "secret_exposures",
]
