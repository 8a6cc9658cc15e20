"""Who takes part, and with how much of the module."""

from fedpeft_secure.allocation.allotment import Allotment
from fedpeft_secure.allocation.deal import deal_allotments
from fedpeft_secure.allocation.participants import choose_cohort

__all__ = ["Allotment", "choose_cohort", "deal_allotments"]
