"""Audits: lower bounds on ε from what an attack achieved."""

from attacks.audit.clopper_pearson import epsilon_clopper_pearson
from attacks.audit.gdp import epsilon_gdp
from attacks.audit.one_run import epsilon_one_run

__all__ = ["epsilon_clopper_pearson", "epsilon_gdp", "epsilon_one_run"]
